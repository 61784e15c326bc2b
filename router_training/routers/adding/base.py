"""What learning one model's row is: the frozen rest of a scorer, where the row starts, and the probes.

A scorer's tensors hold one entry, row or column for each model ("row" for short). A module of this package learns that
of one model, from what the model earned on P probes:

    axes(options) -> Axes                the tensors that have an axis of models, and which axis it is
    learn(problem) -> LearnedRow         the row, and the figures of each probe by a fit that never saw its fold

What is judged is the very scorer that answers online, with the row put in its place (`RowProblem.figures`).

Axis suffixes: P probes, D encoder dimensions, M models of the old bundle, J numbers of a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from router_core.scoring.base import FloatArray
from router_core.scoring.registry import Options, build_scorer
from router_core.tensors import AnyArray, Tensors
from router_training.routers.methods.base import Floats, Indices

Row = Mapping[str, FloatArray]
"""A model's entries of some tensors, by the tensors' names, without the axis of models."""

Axes = Mapping[str, int]


@dataclass(frozen=True)
class RowProblem:
    """The scorer `scorer` and its `tensors` (without prefix), of M models, and the probes of the one to be learned.

    `column` is the model's place: M for a new one. The warm start is the mean of the models' rows weighted by `parents`
    (M,), which sum to 1. `credit` (P,) is what the model earned, or what another scorer left of that. `log_odds` are
    slope and bias that make figures log odds, for a scorer that gives no probabilities. `tasks` (P,) are the probes'
    tasks, `known_tasks` those that the router was trained on, in the order of its tensors; both may be empty.
    """

    scorer: str
    tensors: Mapping[str, FloatArray]
    column: int
    parents: Floats
    vectors: FloatArray
    credit: Floats
    folds: Indices
    log_odds: tuple[float, float] = (1.0, 0.0)
    options: Options = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    known_tasks: tuple[str, ...] = ()

    def rows(self, rows: Indices) -> "RowProblem":
        """The same problem with some of the probes."""
        return replace(
            self,
            vectors=self.vectors[rows],
            credit=self.credit[rows],
            folds=self.folds[rows],
            tasks=tuple(self.tasks[row] for row in rows) if self.tasks else (),
        )

    def models_first(self, name: str, axis: int) -> Floats:
        """The tensor of the models already there, float64, models along the first axis."""
        return np.moveaxis(self.tensors[name], axis, 0).astype(np.float64)

    def figures(self, row: Row, axes: Axes) -> Floats:
        """The scorer's figures (P,) of the model with this row."""
        tensors = with_row(self.tensors, axes, row, self.column)
        sizes = {"D": self.vectors.shape[1], "M": max(len(self.parents), self.column + 1)}
        scorer = build_scorer(self.scorer, Tensors(tensors, f"fitted {self.scorer}", sizes), "", {})
        return scorer.quality(self.vectors)[:, self.column].astype(np.float64)


@dataclass(frozen=True)
class LearnedRow:
    """A row, its held-out figures (P,), and what the bundle records of the fit."""

    row: Row
    held_out: Floats
    record: Mapping[str, float]


def with_row(tensors: Mapping[str, AnyArray], axes: Axes, row: Row, column: int) -> dict[str, AnyArray]:
    """The tensors with the row at `column`: in place of what is there, or appended."""
    placed = dict(tensors)
    for name, axis in axes.items():
        models_first = np.moveaxis(tensors[name], axis, 0)
        rows = [*models_first[:column], np.asarray(row[name], dtype=np.float32), *models_first[column + 1 :]]
        placed[name] = np.ascontiguousarray(np.moveaxis(np.stack(rows), 0, axis))
    return placed


def mean_row(tensors: Mapping[str, AnyArray], axes: Axes, parents_M: Floats) -> dict[str, FloatArray]:
    """The warm start: the mean of the models' rows, weighted by `parents_M`."""
    return {
        name: np.tensordot(parents_M, np.moveaxis(tensors[name], axis, 0).astype(np.float64), 1).astype(np.float32)
        for name, axis in axes.items()
    }
