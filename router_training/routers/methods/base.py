"""What every routing method is: a module with `fit(data) -> Fitted` and, if it has hyper-parameters, a `GRID`.

    fit(data, **setting) -> Fitted      setting: one entry of GRID; without it the method's default
    GRID                                tuple of settings, tried by cross-validation on the training rows (choosing.py)

The tensors of a Fitted are those that the scorer of the same name takes (router_core/scoring/<name>.py), without
prefix, so what is judged offline is the very code that answers online.

Promise: the same data, setting and seed give the same tensors on one machine and thread count. Axis suffixes: N
queries, D encoder dimensions, M models, T tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from router_core.scoring.base import FloatArray, Scorer
from router_core.scoring.registry import build_scorer
from router_core.tensors import Tensors

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Setting = Mapping[str, JsonValue]


@dataclass(frozen=True)
class FitData:
    """N training queries: their vectors (N, D), what each model earns on each (N, M) in 0..1, and their tasks (N,).

    `scores` (N, M) are the table's own figures, which RouterDC ranks models by; every other method reads `credit`.
    `table_clusters` (N,) are the table's cluster ids, None where it has none. Rows of one of the `groups` (N,) never
    stand on both sides of a split; a row whose group is None stands alone, and () means that all do. Tasks weigh the
    same unless `is_balanced` is False: then they are clusters of a user's own traffic, and every query weighs the same.
    """

    vectors: FloatArray
    credit: Floats
    scores: Floats
    tasks: tuple[str, ...]
    seed: int = 0
    table_clusters: npt.NDArray[np.int64] | None = None
    groups: tuple[str | None, ...] = ()
    is_balanced: bool = True

    def __len__(self) -> int:
        return len(self.tasks)

    def rows(self, rows: Indices) -> "FitData":
        """Some of the queries."""
        return replace(
            self,
            vectors=self.vectors[rows],
            credit=self.credit[rows],
            scores=self.scores[rows],
            tasks=tuple(self.tasks[row] for row in rows),
            table_clusters=None if self.table_clusters is None else self.table_clusters[rows],
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
        )

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks, sorted."""
        return tuple(sorted(set(self.tasks)))

    @property
    def task_index(self) -> Indices:
        """The task of each query (N,), as an index into `task_names`."""
        place = {name: index for index, name in enumerate(self.task_names)}
        return np.array([place[task] for task in self.tasks], dtype=np.intp)

    @property
    def weights(self) -> Floats:
        """One weight per query (N,), mean 1, so that every task weighs the same (if balanced)."""
        if not self.is_balanced:
            return np.ones(len(self))
        return task_weights(self.tasks)

    @property
    def judged_tasks(self) -> tuple[str, ...]:
        """What accuracies are averaged within first (N,): the tasks, or one for all if they are not balanced."""
        return self.tasks if self.is_balanced else ("all",) * len(self)


@dataclass(frozen=True)
class Fitted:
    """What a method learned: tensors and options of its scorer, and the settings that the bundle records."""

    name: str
    tensors: Mapping[str, FloatArray]
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    settings: Mapping[str, JsonValue] = field(default_factory=dict)

    def scorer(self, dimensions: int, models: int) -> Scorer:
        """The scorer, as a bundle would make it."""
        tensors = Tensors(dict(self.tensors), f"fitted {self.name}", {"D": dimensions, "M": models})
        return build_scorer(self.name, tensors, "", self.options)


def task_weights(tasks: Sequence[str]) -> Floats:
    """One weight per query (N,), mean 1, so that every task weighs the same."""
    _, index, counts = np.unique(np.array(tasks), return_inverse=True, return_counts=True)
    weights: Floats = len(tasks) / (len(counts) * counts[index])
    return weights


def quality_of(fitted: Fitted, vectors_B_D: FloatArray, models: int) -> Floats:
    """The scorer's figures (B, M) for some vectors."""
    figures = fitted.scorer(vectors_B_D.shape[1], models).quality(vectors_B_D)
    return figures.astype(np.float64)


def mean_by_task(values_N: Floats, tasks: Sequence[str]) -> float:
    """Mean within each task, then over the tasks: what routed accuracy is reported as."""
    names = np.array(tasks)
    return float(np.mean([values_N[names == name].mean() for name in sorted(set(tasks))]))
