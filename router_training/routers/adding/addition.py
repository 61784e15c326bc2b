"""From a bundle and probes to a router that knows the new model, in memory.

Everything but the model's own rows is byte for byte what it was. The model's rows: of the scorer (registry.py), of the
calibration (calibration.py), and its base rate: the warm start's, and what their probabilities differ by at the
centroids of the novelty score, of which there is one for each training task.

A model stays pending below FEWEST_PROBES different questions: the gateway never chooses it while another may answer.

Abstention thresholds were fitted on the gains of the models then there. A further model changes the best model of a
query, hence every gain; and of more estimates, one of them from few probes, the largest overstates more. So the
thresholds stay only while the newcomer is pending and never the best; and not then if it takes the place of a model
that could be. Otherwise they are fitted again on the probes that no model was trained on, if the tables score every
model and those are enough (abstention_fitting.py), and dropped if not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from router_core.bundle import AbstentionSpec, CalibrationSpec, RouterBundle, question_hash
from router_core.manifest import BundleManifest
from router_core.scoring.learned import CALIBRATION, NOVELTY, SCORER, LearnedRouter
from router_core.tensors import AnyArray, Tensors
from router_training.errors import DataError
from router_training.evaluate.probability_error import brier
from router_training.routers.abstention_fitting import fit_abstention
from router_training.routers.adding import calibration
from router_training.routers.adding.base import Axes, Row, RowProblem, mean_row, with_row
from router_training.routers.adding.parents import Weights
from router_training.routers.adding.probes import Probes, count_questions
from router_training.routers.adding.registry import row_learner
from router_training.routers.methods.base import Floats

BASE_RATES = f"{NOVELTY}base_rates"
CENTROIDS = f"{NOVELTY}centroids"


@dataclass(frozen=True)
class Enlarged:
    """A bundle's models, calibration, abstention and tensors with the model in them, at `column`."""

    manifest: BundleManifest
    """The old one but for models, calibration and abstention; its files are still the old ones."""
    tensors: Mapping[str, AnyArray]
    column: int

    @property
    def router(self) -> LearnedRouter:
        """The router."""
        sizes = {"M": len(self.manifest.models), "D": self.manifest.encoder.dimensions}
        return LearnedRouter(self.manifest, Tensors(self.tensors, "the enlarged bundle", sizes))


@dataclass(frozen=True)
class Addition:
    """The enlarged bundle and what it records: how the model's row was learned, and how good its probabilities are."""

    enlarged: Enlarged
    record: Mapping[str, JsonValue]
    evaluation: Mapping[str, JsonValue]


def warm_start(bundle: RouterBundle, model: str, parents: Weights) -> Enlarged:
    """The bundle with the parents' mean for `model`, pending. Raises DataError if no model can be added to it."""
    if len(bundle.models) < 2:
        raise DataError(f"{bundle.path}: holds one model alone, so nothing says how models differ; train again")
    axes = _axes(bundle)
    row = mean_row(bundle.tensors, axes, _weights(bundle, parents))
    return _enlarge(bundle, model, axes, row, is_pending=True)


def add_model(bundle: RouterBundle, model: str, probes: Probes, parents: Weights) -> Addition:
    """Learn the rows of `model` from probes. Raises DataError."""
    start = warm_start(bundle, model, parents)
    method, gives = bundle.manifest.calibration.method, bundle.router.scorer.gives_probabilities
    start_row = mean_row(bundle.tensors, _axes(bundle), _weights(bundle, parents))
    start_map = _part(start_row, CALIBRATION)
    learned = row_learner(bundle.manifest.scorer).learn(
        RowProblem(
            scorer=bundle.manifest.scorer.name,
            tensors=_part(bundle.tensors, SCORER),
            column=start.column,
            parents=_weights(bundle, parents),
            vectors=probes.vectors,
            credit=probes.credit,
            folds=probes.folds(),
            log_odds=calibration.log_odds_line(method, start_map),
            options=bundle.manifest.scorer.options,
            tasks=probes.tasks,
            known_tasks=_known_tasks(bundle),
        )
    )
    questions = count_questions(probes.questions)
    is_pending = questions < calibration.FEWEST_PROBES
    new_map: Row = start_map
    if not is_pending:
        new_map = calibration.corrected(method, start_map, learned.held_out, probes.credit, from_probabilities=gives)
    row = {**start_row, **_prefixed(learned.row, SCORER), **_prefixed(new_map, CALIBRATION)}
    enlarged = _enlarge(bundle, model, _axes(bundle), row, is_pending=is_pending)
    enlarged = _with_base_rate(enlarged, start)
    held_out_P = calibration.map_of(method, new_map, learned.held_out, from_probabilities=gives)
    enlarged = _with_abstention(bundle, model, enlarged, probes, held_out_P)
    started_P = start.router.score(probes.vectors, probes.lost).probability[:, start.column].astype(np.float64)
    return Addition(
        enlarged,
        record={
            "probes": len(probes),
            "questions": questions,
            "parents": {name: round(weight / sum(parents.values()), 6) for name, weight in parents.items()},
            "replaced": model in bundle.models,
            "seed": probes.seed,
            **learned.record,
        },
        evaluation={
            "brier": round(brier(held_out_P, probes.credit), 6),
            "brier_of_warm_start": round(brier(started_P, probes.credit), 6),
        },
    )


def _enlarge(bundle: RouterBundle, model: str, axes: Axes, row: Row, *, is_pending: bool) -> Enlarged:
    old = bundle.manifest
    models = old.models if model in old.models else (*old.models, model)
    column = models.index(model)
    pending = [name for name in old.calibration.pending if name != model] + [model] * is_pending
    changes = {
        "models": models,
        "calibration": CalibrationSpec(method=old.calibration.method, pending=tuple(pending)),
        "abstention": None,
    }
    return Enlarged(old.model_copy(update=changes), with_row(bundle.tensors, axes, row, column), column)


def _with_base_rate(enlarged: Enlarged, start: Enlarged) -> Enlarged:
    column, centroids = enlarged.column, enlarged.tensors[CENTROIDS]
    gained = [made.router.score(centroids).probability[:, column].mean() for made in (enlarged, start)]
    rate = np.clip(start.tensors[BASE_RATES][column] + gained[0] - gained[1], 0, 1)
    rates = with_row({BASE_RATES: enlarged.tensors[BASE_RATES]}, {BASE_RATES: 0}, {BASE_RATES: rate}, column)
    return replace(enlarged, tensors={**enlarged.tensors, **rates})


def _with_abstention(
    bundle: RouterBundle, model: str, enlarged: Enlarged, probes: Probes, held_out_P: Floats
) -> Enlarged:
    """Keep, fit again or drop the thresholds; see the module."""
    pending, old = enlarged.manifest.calibration.pending, bundle.manifest.abstention
    if old is None:
        return enlarged
    could_be_best = model in bundle.models and model not in bundle.manifest.calibration.pending
    if model in pending:
        kept = None if could_be_best else old
    else:
        kept = _fitted_again(bundle, enlarged, probes, held_out_P, old.max_regret)
    return replace(enlarged, manifest=enlarged.manifest.model_copy(update={"abstention": kept}))


def _fitted_again(
    bundle: RouterBundle, enlarged: Enlarged, probes: Probes, held_out_P: Floats, max_regret: float
) -> AbstentionSpec | None:
    hashes = bundle.question_hashes
    if probes.others is None or hashes is None:
        return None
    fresh_P = ~np.isin(np.array([question_hash(text) for text in probes.questions], dtype=np.uint64), hashes)
    scores = enlarged.router.score(probes.vectors, probes.lost)
    probability_P_M, credit_P_M = scores.probability.astype(np.float64), probes.others
    if enlarged.column == len(bundle.models):
        credit_P_M = np.column_stack([credit_P_M, probes.credit])
    # The newcomer's own figures are held out; the others never saw a fresh probe.
    rate = float(enlarged.tensors[BASE_RATES][enlarged.column])
    probability_P_M[:, enlarged.column] = held_out_P + scores.novelty * (rate - held_out_P)
    ready = np.flatnonzero(scores.is_calibrated)
    names = tuple(enlarged.manifest.models[column] for column in ready)
    return fit_abstention(
        probability_P_M[fresh_P][:, ready], credit_P_M[fresh_P][:, ready], names, max_regret=max_regret
    )


def _axes(bundle: RouterBundle) -> Axes:
    """Where the models are, in all tensors of a bundle."""
    of_scorer = row_learner(bundle.manifest.scorer).axes
    of_map = calibration.AXES[bundle.manifest.calibration.method]
    return {
        **{f"{SCORER}{name}": axis for name, axis in of_scorer.items()},
        **{f"{CALIBRATION}{name}": axis for name, axis in of_map.items()},
        BASE_RATES: 0,
    }


def _known_tasks(bundle: RouterBundle) -> tuple[str, ...]:
    """The tasks that the bundle says it was trained on."""
    tasks = bundle.manifest.training.get("tasks")
    return tuple(str(task) for task in tasks) if isinstance(tasks, list) else ()


def _weights(bundle: RouterBundle, parents: Weights) -> Floats:
    weights_M = np.array([parents.get(name, 0.0) for name in bundle.models])
    shares: Floats = weights_M / weights_M.sum()
    return shares


def _part(tensors: Mapping[str, AnyArray], prefix: str) -> dict[str, AnyArray]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _prefixed(row: Row, prefix: str) -> dict[str, AnyArray]:
    return {f"{prefix}{name}": tensor for name, tensor in row.items()}
