"""How good the router gets with n probes of a new model: the learning curve of `router add-model`.

For n = 8, 16, 32, ... 512, as far as there are probes, and SEEDS draws each, n probes are drawn in the proportions of
their tasks, the model is added from them alone, and the router is judged on test tables. JSON Lines, one measurement a
line, which `router report --learning-curves` draws:

    {"probes": n, "seed": s, "metric": METRIC, "value": v}          each value a mean over the test tables

    routed             accuracy of the model with the highest probability, pending or not
    brier              Brier score of the new model's probability
    probability_mae    |mean probability of the new model - its accuracy|
    row_error          only with a reference: mean |probability of the new model - the same by the reference|

Two more points of each curve: n = 0 is the warm start (of `routed`: the old bundle, as a model without probes is never
chosen); and with a reference, a bundle trained on all models, n is the number of its training rows.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router_core.bundle import RouterBundle
from router_core.publish import publish_file
from router_core.scoring.base import FloatArray
from router_core.scoring.learned import LearnedRouter
from router_training.errors import DataError, JobConfigError
from router_training.evaluate.judging import EvaluationFile
from router_training.evaluate.probability_error import brier
from router_training.evaluate.routed_accuracy import credit_of_scores
from router_training.routers.adding.addition import add_model, warm_start
from router_training.routers.adding.parents import Weights
from router_training.routers.adding.probes import Encode, Probes
from router_training.routers.methods.base import Floats, Indices

COUNTS = (8, 16, 32, 64, 128, 256, 512)
SEEDS = 5


@dataclass(frozen=True)
class Measurement:
    """One line of the file."""

    probes: int
    seed: int
    metric: str
    value: float


@dataclass(frozen=True)
class ScoredQueries:
    """Queries of a test table: vectors (N, D), shares cut off (N,), credit (N, M) in the order of the new bundle."""

    vectors: FloatArray
    lost: FloatArray
    credit: Floats


@dataclass(frozen=True)
class Reference:
    """A bundle that was trained on all models, and the test tables in the vectors of its own encoder."""

    bundle: RouterBundle
    tests: Sequence[ScoredQueries]


def scored_queries(files: Sequence[EvaluationFile], models: Sequence[str], encode: Encode) -> list[ScoredQueries]:
    """Encode test tables; `models` is the order of the credits."""
    made = []
    for file in files:
        columns = [file.table.models.index(model) for model in models]
        credit = credit_of_scores(file.table.scores[:, columns], file.metric)
        made.append(ScoredQueries(*encode(file.table.questions), credit))
    return made


def learning_curve(
    bundle: RouterBundle,
    model: str,
    probes: Probes,
    parents: Weights,
    tests: Sequence[ScoredQueries],
    reference: Reference | None = None,
) -> Iterator[Measurement]:
    """Measure. Raises DataError."""
    start = warm_start(bundle, model, parents)
    judge = _Judge(start.manifest.models, model, reference)
    yield Measurement(0, 0, "routed", judge.routed(bundle.router, tests))
    yield from (Measurement(0, 0, metric, value) for metric, value in judge.of_model(start.router, tests))
    for count in COUNTS:
        if count > len(probes):
            break
        for seed in range(SEEDS):
            some = probes.rows(draw_probes(probes.tasks, count, seed))
            router = add_model(bundle, model, some, parents).enlarged.router
            yield from (Measurement(count, seed, metric, value) for metric, value in judge.all(router, tests))
    if reference is not None:
        rows = sum(entry.rows for entry in reference.bundle.manifest.data)
        known = judge.all(reference.bundle.router, reference.tests)
        yield from (Measurement(rows, 0, metric, value) for metric, value in known)


def refuse_other_models(reference: RouterBundle, models: Sequence[str]) -> None:
    """Raise DataError if a reference does not route to the very models that are judged."""
    odd = sorted({*models} ^ {*reference.models})
    if odd:
        raise DataError(f"--reference {reference.path}: routes to other models; not in both: {', '.join(odd)}")


def draw_probes(tasks: Sequence[str], count: int, seed: int) -> Indices:
    """`count` of the probes, each task in proportion; the same seed draws the fewer from among the more."""
    rng = np.random.default_rng(seed)
    names = np.array(tasks)
    place = np.empty(len(names))
    for task in sorted(set(tasks)):
        members = rng.permutation(np.flatnonzero(names == task))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(place, kind="stable")[:count])


def write_learning_curve(path: Path, points: Sequence[Measurement]) -> None:
    """Write the file whole or not at all. Raises JobConfigError."""
    lines = [
        json.dumps({"probes": one.probes, "seed": one.seed, "metric": one.metric, "value": round(one.value, 6)})
        for one in points
    ]
    try:
        publish_file(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise JobConfigError(f"--learning-curve {path}: cannot be written: {error}") from error


class _Judge:
    """Judges routers on test tables; `models` is the order of the credits, `model` the new one."""

    def __init__(self, models: tuple[str, ...], model: str, reference: Reference | None) -> None:
        self._models, self._model = models, model
        self._known: list[Floats] | None = None
        if reference is not None:
            self._known = [self._probability(reference.bundle.router, test) for test in reference.tests]

    def all(self, router: LearnedRouter, tests: Sequence[ScoredQueries]) -> list[tuple[str, float]]:
        """Every measure, by name."""
        return [("routed", self.routed(router, tests)), *self.of_model(router, tests)]

    def routed(self, router: LearnedRouter, tests: Sequence[ScoredQueries]) -> float:
        """Mean over the tables of what the model with the highest probability earns."""
        columns = [self._models.index(name) for name in router.models]
        earned = []
        for test in tests:
            choice = router.score(test.vectors, test.lost).probability.argmax(axis=1)
            earned.append(float(test.credit[:, columns][np.arange(len(choice)), choice].mean()))
        return float(np.mean(earned))

    def of_model(self, router: LearnedRouter, tests: Sequence[ScoredQueries]) -> list[tuple[str, float]]:
        """The measures of the new model's probabilities, by name."""
        said = [self._probability(router, test) for test in tests]
        happened = [test.credit[:, self._models.index(self._model)] for test in tests]
        pairs = list(zip(said, happened, strict=True))
        measures = [
            ("brier", float(np.mean([brier(p, c) for p, c in pairs]))),
            ("probability_mae", float(np.mean([abs(p.mean() - c.mean()) for p, c in pairs]))),
        ]
        if self._known is not None:
            errors = [np.abs(p - known).mean() for p, known in zip(said, self._known, strict=True)]
            measures.append(("row_error", float(np.mean(errors))))
        return measures

    def _probability(self, router: LearnedRouter, test: ScoredQueries) -> Floats:
        scores = router.score(test.vectors, test.lost)
        probability: Floats = scores.probability[:, router.models.index(self._model)].astype(np.float64)
        return probability
