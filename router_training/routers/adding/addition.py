"""From a bundle and probes to the bundle's parts with the model in them, in memory.

Everything but the model's own rows is byte for byte what it was. The model's rows: of the scorer (registry.py), of the
calibration (calibration.py), and its base rate, which differs from the warm start's as their probabilities do at the
centroids of the novelty score, one for each training task.

The gateway never chooses a model that is `pending` while another may answer; a model stays so below FEWEST_PROBES.

Abstention thresholds were fitted on the gains of the models then there. A further model that can be chosen changes the
best model of a query, hence every gain, and with the errors of a row from few probes the largest of more estimates
overstates more. So the thresholds are fitted again if the probes score every other model too and are enough, and are
dropped if not. They stay while the newcomer is pending, since then it is never the best; but not if it replaces a model
that could be chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from router_core.bundle import AbstentionSpec, RouterBundle
from router_core.manifest import BundleManifest
from router_core.scoring.learned import CALIBRATION, NOVELTY, SCORER, LearnedRouter
from router_core.tensors import AnyArray, Tensors
from router_training.routers.abstention_fitting import fit_abstention
from router_training.routers.adding import calibration
from router_training.routers.adding.base import Axes, Row, RowProblem, mean_row, with_row
from router_training.routers.adding.registry import RowLearner, row_learner
from router_training.routers.methods.base import Floats, Indices

BASE_RATES = f"{NOVELTY}base_rates"
CENTROIDS = f"{NOVELTY}centroids"


@dataclass(frozen=True)
class ProbeFigures:
    """P encoded probes: vectors (P, D), the share of each text that was cut off (P,), what the model earned (P,), folds
    (P,); `others` (P, M) what every model of the bundle earned, None if a table does not say."""

    vectors: np.ndarray
    lost: np.ndarray
    credit: Floats
    folds: Indices
    others: Floats | None = None

    def rows(self, rows: Indices) -> "ProbeFigures":
        """Some of the probes."""
        others = None if self.others is None else self.others[rows]
        return ProbeFigures(self.vectors[rows], self.lost[rows], self.credit[rows], self.folds[rows], others)


@dataclass(frozen=True)
class Addition:
    """The parts of the new bundle that differ from the old one's, and what was learned."""

    manifest: BundleManifest
    """The old manifest with the new models, pending and abstention; its files are still the old ones."""
    tensors: Mapping[str, AnyArray]
    column: int
    record: Mapping[str, JsonValue]
    figures: Mapping[str, JsonValue]

    def router(self) -> LearnedRouter:
        """The new router."""
        return _router(self.manifest, self.tensors)


def add_model(bundle: RouterBundle, model: str, probes: ProbeFigures, parents: Mapping[str, float]) -> Addition:
    """Learn the rows of `model`. `parents` are models of the bundle and their weights. Raises DataError."""
    manifest = bundle.manifest
    learner = row_learner(manifest.scorer)
    names = manifest.models if model in manifest.models else (*manifest.models, model)
    column = names.index(model)
    parents_M = np.array([parents.get(name, 0.0) for name in manifest.models])
    parents_M /= parents_M.sum()
    method, gives = manifest.calibration.method, bundle.router.scorer.gives_probabilities
    map_axes = calibration.AXES[method]
    scorer_tensors = _part(bundle.tensors, SCORER)
    map_tensors = _part(bundle.tensors, CALIBRATION)
    start_map = mean_row(map_tensors, map_axes, parents_M)
    problem = RowProblem(
        scorer=manifest.scorer.name,
        tensors=scorer_tensors,
        column=column,
        parents=parents_M,
        vectors=probes.vectors,
        credit=probes.credit,
        folds=probes.folds,
        log_odds=(1.0, 0.0) if gives else calibration.log_odds_line(method, start_map),
        options=manifest.scorer.options,
    )
    learned = learner.learn(problem)
    enough = len(probes.credit) >= calibration.FEWEST_PROBES
    new_map = (
        calibration.corrected(method, start_map, learned.held_out, probes.credit, from_probabilities=gives)
        if enough
        else start_map
    )
    pending = tuple(name for name in manifest.calibration.pending if name != model) + (() if enough else (model,))
    changed = manifest.model_copy(
        update={
            "models": names,
            "calibration": manifest.calibration.model_copy(update={"pending": pending}),
            "abstention": None,
        }
    )

    def placed(row: Row, map_row: Row, base_rate: float) -> dict[str, AnyArray]:
        return {
            **bundle.tensors,
            **_prefixed(with_row(scorer_tensors, learner.axes, row, column), SCORER),
            **_prefixed(with_row(map_tensors, map_axes, map_row, column), CALIBRATION),
            **with_row(
                {BASE_RATES: bundle.tensors[BASE_RATES]}, {BASE_RATES: 0}, {BASE_RATES: np.float32(base_rate)}, column
            ),
        }

    start_rate = float(parents_M @ bundle.tensors[BASE_RATES])
    start = placed(mean_row(scorer_tensors, learner.axes, parents_M), start_map, start_rate)
    found = placed(learned.row, new_map, start_rate)
    at_start, at_found = (_at_centroids(changed, tensors)[column] for tensors in (start, found))
    tensors = placed(learned.row, new_map, float(np.clip(start_rate + at_found - at_start, 0, 1)))
    return Addition(changed, tensors, column, learned.record, {})


def _router(manifest, tensors):
    sizes = {"M": len(manifest.models), "D": manifest.encoder.dimensions}
    return LearnedRouter(manifest, Tensors(tensors, "the new bundle", sizes))


def _at_centroids(manifest, tensors):
    return _router(manifest, tensors).score(tensors[CENTROIDS]).probability.astype(np.float64).mean(axis=0)


def _part(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _prefixed(tensors, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
