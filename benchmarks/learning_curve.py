"""How good a router gets with a model that is added to it, as the model is probed more (routers/learning_curve.py).

The model is taken out of the training table, a router is trained on the rest, and the model is added from n of the
table's rows, drawn anew for each seed. Beside the curve stands the bundle that was trained on all models at once.

Axis suffixes: N queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.paired import listed, paragraph, table
from benchmarks.served import Served, train_served
from benchmarks.sides import Sides
from router_core.bundle import RouterBundle
from router_training.evaluate.judging import encoder_of
from router_training.routers.adding.parents import default_parents
from router_training.routers.adding.probes import ProbeTable
from router_training.routers.dataset import RouterData
from router_training.routers.learning_curve import Measurement, Reference, ScoredQueries, learning_curve

COLUMNS = {
    "routed": "routed right, %",
    "brier": "Brier of the added model",
    "row_error": "its probability, mean distance to the full bundle's",
}


def measure_addition(sides: Sides, known: Served, model: str, seed: int) -> tuple[Measurement, ...]:
    """Add `model` to a router trained without it; `known` was trained on all models. Raises DataError."""
    served = train_served(without_model(sides.train, model), seed)
    bundle, encode = served.bundle, encoder_of(served.bundle, "cpu")
    train, column = sides.train, sides.train.models.index(model)
    others = [train.models.index(name) for name in bundle.models]
    probes = ProbeTable(train.questions, train.tasks, train.credit[:, column], train.credit[:, others], train.entries)
    models = (*bundle.models, model)
    reference = Reference(known.bundle, [_queries(sides, known.bundle, models)])
    print(f"adding {model}", flush=True)
    return tuple(
        learning_curve(
            bundle,
            model,
            probes.encoded(encode, seed),
            default_parents(bundle.manifest, model),
            [_queries(sides, bundle, models)],
            reference,
        )
    )


def without_model(data: RouterData, model: str) -> RouterData:
    """The table as if `model` had never been asked."""
    kept = [column for column, name in enumerate(data.models) if name != model]
    models = tuple(data.models[column] for column in kept)
    return replace(data, models=models, scores=data.scores[:, kept], credit=data.credit[:, kept])


def learning_section(found: Mapping[str, Sequence[Measurement]]) -> str:
    """Markdown: every added model's curve, mean and range over the seeds."""
    lines = []
    for model, points in found.items():
        counts = sorted({point.probes for point in points})
        for place, probes in enumerate(counts):
            here = [point for point in points if point.probes == probes]
            # The reference's point is the one at as many probes as its training table has rows: it comes last.
            label = f"all models trained at once, {probes} rows" if place == len(counts) - 1 else str(probes)
            cells = [_cell([one.value for one in here if one.metric == metric], metric) for metric in COLUMNS]
            lines.append([f"`{model}`", label, *cells])
    text = paragraph(f"""
        Taken out of the training table and added again from so many probes, each by itself:
        {listed([f"`{model}`" for model in found])}. The warm start is the mean of the other models; with 0 probes the
        router never chooses the model. Mean over the draws of probes, lowest and highest in brackets.""")
    return f"{table(['added model', 'probes', *COLUMNS.values()], lines)}\n\n{text}"


def _queries(sides: Sides, bundle: RouterBundle, models: Sequence[str]) -> ScoredQueries:
    test = sides.test
    vectors, lost_N = encoder_of(bundle, "cpu")(test.questions)
    return ScoredQueries(vectors, lost_N, test.credit[:, [test.models.index(name) for name in models]])


def _cell(values: Sequence[float], metric: str) -> str:
    if not values:
        return ""
    scale, digits = (100, 1) if metric == "routed" else (1, 3)
    mean, low, high = (f"{scale * one:.{digits}f}" for one in (np.mean(values), min(values), max(values)))
    return mean if len(values) == 1 else f"{mean} [{low}, {high}]"
