"""The new model's direction among query vectors, for scorers that compare by cosine: `routerdc`, `cosine_classifier`.

    maximise over u:  sum over i of log P(credit[i] | sigmoid(slope * figure(cos(q[i], k)) + bias))  -  |u|^2 / (2 F)
                      k = start + R u

by L-BFGS from u = 0. start is the parents' mean brought to length 1; R R' the covariance of the pool's unit vectors
(pool.py). slope and bias are those of the start's calibration, so that a cosine means for the
newcomer what it means for the others. The paper's contrastive loss cannot be used: it ranks all models on each query,
and only the newcomer was asked.

Axis letters: W width of the space that is compared in.
"""

from collections.abc import Callable

import numpy as np

from router_core.scoring.base import FloatArray, unit_rows
from router_training.routers.adding.base import RowProblem, mean_row
from router_training.routers.adding.logistic import sigmoid
from router_training.routers.adding.pool import scatter_root
from router_training.routers.methods.base import Floats

FigureAndSlope = Callable[[Floats], tuple[Floats, Floats]]
"""Cosines (P,) -> the scorer's figures (P,) and their derivatives by the cosine (P,)."""

MOST_ITERATIONS = 100


def fit_direction(
    problem: RowProblem, name: str, unit_P_W: Floats, figure: FigureAndSlope, freedom: float
) -> FloatArray:
    """The new row (W,) of the tensor `name` (M, W), given the probes' unit vectors."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    unit_M_W = unit_rows(problem.tensors[name]).astype(np.float64)
    start_W = _unit(mean_row(problem.tensors, {name: 0}, problem.parents)[name].astype(np.float64))
    root_W_K = np.sqrt(freedom) * scatter_root(unit_M_W)
    slope, bias = problem.log_odds

    def loss_and_gradient(u_K: Floats) -> tuple[float, Floats]:
        k_W = start_W + root_W_K @ u_K
        length = max(float(np.linalg.norm(k_W)), 1e-12)
        figure_P, derivative_P = figure(unit_P_W @ (k_W / length))
        logit_P = slope * figure_P + bias
        loss = float((np.logaddexp(0, logit_P) - problem.credit * logit_P).sum())
        said_P = sigmoid(logit_P)
        pull_W = ((said_P - problem.credit) * slope * derivative_P) @ unit_P_W
        # Of the gradient with respect to the unit vector only the part across it turns the direction.
        across_W = (pull_W - (pull_W @ k_W) / length**2 * k_W) / length
        return loss + 0.5 * float(u_K @ u_K), root_W_K.T @ across_W + u_K

    found = minimize(
        loss_and_gradient,
        np.zeros(root_W_K.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_ITERATIONS},
    )
    return _unit(start_W + root_W_K @ found.x).astype(np.float32)


def _unit(vector_W: Floats) -> Floats:
    unit: Floats = vector_W / max(float(np.linalg.norm(vector_W)), 1e-12)
    return unit
