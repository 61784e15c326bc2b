"""The scorers that a model can be added to. One file and one line each; a file is imported only when it is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from router_core.bundle import ScorerSpec
from router_training.errors import DataError
from router_training.routers.adding.base import Axes, LearnedRow, RowProblem

_HOME = "router_training.routers.adding"

ROWS: Mapping[str, str] = MappingProxyType(
    {
        "prior_residual": f"{_HOME}.prior_residual",
        "task_prior": f"{_HOME}.task_prior",
        "routerdc": f"{_HOME}.routerdc",
        "cosine_classifier": f"{_HOME}.cosine_classifier",
        "mlp": f"{_HOME}.mlp",
        "clusters": f"{_HOME}.clusters",
        "ridge": f"{_HOME}.ridge",
    }
)


@dataclass(frozen=True)
class RowLearner:
    """How one scorer learns a model's row: see base.py."""

    axes: Axes
    learn: Callable[[RowProblem], LearnedRow]


def row_learner(spec: ScorerSpec) -> RowLearner:
    """For the scorer of a bundle. Raises DataError for one that no model can be added to."""
    if spec.name == "knn":
        raise DataError(
            "scorer knn keeps what every model earned on each training query, and the new model was not asked those: "
            "score it on the training tables and train again"
        )
    if spec.name not in ROWS:
        raise DataError(
            f"scorer {spec.name}: no model can be added to it; known: {', '.join(ROWS)}; train again with the new model"
        )
    module = import_module(ROWS[spec.name])
    return RowLearner(module.axes(spec.options), module.learn)
