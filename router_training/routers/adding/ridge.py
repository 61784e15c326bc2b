"""The new model's line of a `ridge`: Bayesian linear regression on the probes around the warm start, in closed form.

With theta = (weight, bias), phi = (x - mean of the probes, 1) and r what the start leaves of the credit,

    theta = start + R u,      u = ( (Phi R)' (Phi R) + sigma^2 / F )^-1 (Phi R)' r,      sigma^2 = mean of r^2

where R R' is the pool's covariance (pool.py) and F the freedom. Credit may be any real number: what a prior leaves
unexplained is learned in the same way.
"""

import numpy as np

from router_core.scoring.registry import Options
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem, mean_row
from router_training.routers.adding.freedom import gaussian_around, learn_freely
from router_training.routers.adding.linear import posterior_mean
from router_training.routers.adding.pool import scatter_root
from router_training.routers.methods.base import Floats

AXES = {"weight": 0, "bias": 0}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The row of `weight` and the entry of `bias`."""
    return learn_freely(problem, AXES, fit, gaussian_around(_left_by_start(problem)))


def fit(problem: RowProblem, freedom: float) -> Row:
    """The line for a given freedom."""
    start = mean_row(problem.tensors, AXES, problem.parents)
    centre_D = problem.vectors.mean(axis=0).astype(np.float64)
    weight_M_D, bias_M = problem.models_first("weight", 0), problem.models_first("bias", 0)
    # At the centre of the probes, the bias says how good a model is and the weight where; elsewhere they are tangled.
    root_J_K = scatter_root(np.column_stack([weight_M_D, bias_M + weight_M_D @ centre_D]))
    phi_P_J = np.column_stack([problem.vectors - centre_D, np.ones(len(problem.credit))])
    change_J = root_J_K @ posterior_mean(phi_P_J @ root_J_K, _left_by_start(problem), freedom)
    return {
        "weight": (start["weight"] + change_J[:-1]).astype(np.float32),
        "bias": np.array(start["bias"] + change_J[-1] - change_J[:-1] @ centre_D, dtype=np.float32),
    }


def _left_by_start(problem: RowProblem) -> Floats:
    start = mean_row(problem.tensors, AXES, problem.parents)
    left_P: Floats = problem.credit - (problem.vectors @ start["weight"] + start["bias"])
    return left_P
