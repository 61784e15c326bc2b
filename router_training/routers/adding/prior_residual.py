"""The new model's row of a `prior_residual`: its accuracies, then its row of the residual on what they leave.

A residual that is a `ridge` is learned from the probes. Of a `knn` or `clusters` the newcomer gets the parents' mean:
the first keeps what every model earned on each training query, which nobody asked the newcomer, and in both what
accuracies leave unexplained is too little to be counted on few probes.
"""

from dataclasses import replace

import numpy as np

from router_core.scoring.base import FloatArray
from router_core.scoring.registry import Options
from router_training.errors import DataError
from router_training.routers.adding import ridge, task_prior
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem, mean_row

_AXES_OF_RESIDUAL: dict[str, Axes] = {"ridge": ridge.AXES, "knn": {"credit": 1}, "clusters": {"credit": 1}}


def axes(options: Options) -> Axes:
    """Where the models are, in the tensors `prior.*` and `residual.*`. Raises DataError for an unknown residual."""
    found = {f"prior.{name}": axis for name, axis in task_prior.AXES.items()}
    residual = options.get("residual")
    if residual is None:
        return found
    if residual not in _AXES_OF_RESIDUAL:
        raise DataError(
            f"scorer prior_residual: no model can be added to the residual {residual!r}; "
            f"known: {', '.join(_AXES_OF_RESIDUAL)}; train again with the new model"
        )
    return found | {f"residual.{name}": axis for name, axis in _AXES_OF_RESIDUAL[str(residual)].items()}


def learn(problem: RowProblem) -> LearnedRow:
    """Rows of the tensors `prior.*` and `residual.*`."""
    prior = task_prior.learn(_part(problem, "task_prior", "prior."))
    row = _prefixed(prior.row, "prior.")
    residual = problem.options.get("residual")
    if residual is None:
        return LearnedRow(row, prior.held_out, prior.record)
    strength = float(problem.tensors["strength"][0])
    left = replace(_part(problem, str(residual), "residual."), credit=problem.credit - prior.held_out)
    second = ridge.learn(left) if residual == "ridge" else _parents_mean(left)
    held_out = np.clip(prior.held_out + strength * second.held_out, 0, 1)
    record = {**prior.record, **{f"residual_{name}": value for name, value in second.record.items()}}
    return LearnedRow({**row, **_prefixed(second.row, "residual.")}, held_out, record)


def _parents_mean(problem: RowProblem) -> LearnedRow:
    where = _AXES_OF_RESIDUAL[problem.scorer]
    row = mean_row(problem.tensors, where, problem.parents)
    return LearnedRow(row, problem.figures(row, where), {})


def _part(problem: RowProblem, scorer: str, prefix: str) -> RowProblem:
    tensors = {name.removeprefix(prefix): tensor for name, tensor in problem.tensors.items() if name.startswith(prefix)}
    return replace(problem, scorer=scorer, tensors=tensors)


def _prefixed(row: Row, prefix: str) -> dict[str, FloatArray]:
    return {f"{prefix}{name}": tensor for name, tensor in row.items()}
