"""The new model's row of a `prior_residual`: its accuracies, then its row of the residual on what they leave.

A residual that is a `ridge` is learned from the probes. Of any other the newcomer gets the parents' mean: a `knn` keeps
what every model earned on each training query, which nobody asked the newcomer, and what an accuracy leaves unexplained
within a task or a cluster is too little to count on few probes.
"""

from dataclasses import replace

import numpy as np
from router_core.scoring.registry import Options

from router_training.routers.adding import knn, ridge, task_prior
from router_training.routers.adding.base import LearnedRow, Row, RowProblem, mean_row

RESIDUALS = {"ridge": ridge, "knn": knn}
AXES_OF_RESIDUAL = {"ridge": ridge.AXES, "knn": knn.AXES, "clusters": {"credit": 1}, "task_prior": {"accuracy": 1}}


def learn(problem: RowProblem) -> LearnedRow:
    """Rows of the tensors `prior.*` and `residual.*`."""
    residual = problem.options.get("residual")
    prior = task_prior.learn(_part(problem, "task_prior", "prior."))
    row = _prefixed(prior.row, "prior.")
    if residual is None:
        return LearnedRow(row, prior.held_out, prior.record)
    strength = float(problem.tensors["strength"][0])
    left = replace(_part(problem, residual, "residual."), credit=(problem.credit - prior.held_out) / strength)
    second = RESIDUALS[residual].learn(left) if residual in RESIDUALS else _parents_mean(left)
    held_out = np.clip(prior.held_out + strength * second.held_out, 0, 1)
    record = {**prior.record, **{f"residual_{name}": value for name, value in second.record.items()}}
    return LearnedRow(row | _prefixed(second.row, "residual."), held_out, record)


def axes(options: Options) -> dict[str, int]:
    """Where the models are in the tensors `prior.*` and `residual.*`."""
    residual = options.get("residual")
    found = {f"prior.{name}": axis for name, axis in task_prior.AXES.items()}
    if residual is not None:
        found |= {f"residual.{name}": axis for name, axis in AXES_OF_RESIDUAL[residual].items()}
    return found


def _parents_mean(problem: RowProblem) -> LearnedRow:
    axes_ = AXES_OF_RESIDUAL[problem.scorer]
    row = mean_row(problem.tensors, axes_, problem.parents)
    return LearnedRow(row, problem.figures(row, axes_), {})


def _part(problem: RowProblem, scorer: str, prefix: str) -> RowProblem:
    tensors = {name.removeprefix(prefix): tensor for name, tensor in problem.tensors.items() if name.startswith(prefix)}
    return replace(problem, scorer=scorer, tensors=tensors)


def _prefixed(row: Row, prefix: str) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": tensor for name, tensor in row.items()}
