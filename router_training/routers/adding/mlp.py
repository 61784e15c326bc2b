"""The new model's output unit of an `mlp`: logistic regression on the frozen hidden units, around the warm start."""

import numpy as np

from router_core.scoring.registry import Options
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem, mean_row
from router_training.routers.adding.freedom import bernoulli, learn_freely
from router_training.routers.adding.logistic import most_probable
from router_training.routers.adding.pool import scatter_root

AXES = {"out.weight": 0, "out.bias": 0}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The row of `out.weight` and the entry of `out.bias`."""
    return learn_freely(problem, AXES, fit, bernoulli)


def fit(problem: RowProblem, freedom: float) -> Row:
    """The unit for a given freedom."""
    hidden_P_H = np.maximum(problem.vectors @ problem.tensors["hidden.weight"].T + problem.tensors["hidden.bias"], 0)
    phi_P_J = np.column_stack([hidden_P_H, np.ones(len(hidden_P_H))]).astype(np.float64)
    start = mean_row(problem.tensors, AXES, problem.parents)
    start_J = np.append(start["out.weight"], start["out.bias"]).astype(np.float64)
    root_J_K = scatter_root(
        np.column_stack([problem.models_first("out.weight", 0), problem.models_first("out.bias", 0)])
    )
    unit_J = start_J + root_J_K @ most_probable(phi_P_J @ root_J_K, problem.credit, phi_P_J @ start_J, freedom)
    return {"out.weight": unit_J[:-1].astype(np.float32), "out.bias": np.array(unit_J[-1], dtype=np.float32)}
