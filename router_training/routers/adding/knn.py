"""The new model's votes of a `knn`: a combination of the other models' votes, which the probes choose.

The scorer keeps what every model earned on each training query, and nobody asked the newcomer. What can be learned is
whom it is like: its column of `credit` is the warm start plus a combination u of how the pool's columns deviate from one
another (pool.py), and the figures of a vote are linear in the column, so

    figure(x) = start(x) + sum over m of u[m] deviation[m](x) / sqrt(M),      u ~ N(0, F)

by linear regression on the probes. Credit may be any real number.
"""

import numpy as np

from router_core.scoring.knn import KNN
from router_core.scoring.registry import Options
from router_core.tensors import Tensors
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem, mean_row
from router_training.routers.adding.freedom import gaussian_around, learn_freely
from router_training.routers.adding.linear import posterior_mean
from router_training.routers.adding.pool import deviations
from router_training.routers.methods.base import Floats

AXES = {"credit": 1}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The column of `credit`."""
    figures_P_M = _figures(problem)
    return learn_freely(problem, AXES, fit, gaussian_around(problem.credit - figures_P_M @ problem.parents))


def fit(problem: RowProblem, freedom: float) -> Row:
    """The column for a given freedom."""
    figures_P_M = _figures(problem)
    scale = 1 / np.sqrt(len(problem.parents))
    left_P = problem.credit - figures_P_M @ problem.parents
    u_M = posterior_mean(scale * deviations(figures_P_M.T).T, left_P, freedom)
    credit_M_N = problem.models_first("credit", 1)
    start_N = mean_row(problem.tensors, AXES, problem.parents)["credit"]
    column_N = start_N + scale * u_M @ deviations(credit_M_N)
    return {"credit": np.clip(column_N, credit_M_N.min(), credit_M_N.max()).astype(np.float32)}


def _figures(problem: RowProblem) -> Floats:
    sizes = {"D": problem.vectors.shape[1], "M": len(problem.parents)}
    return KNN(Tensors(problem.tensors, "knn", sizes), "", {}).quality(problem.vectors).astype(np.float64)
