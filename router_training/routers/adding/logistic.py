"""Logistic regression around a start: the most probable weights under a normal prior, by Newton's method."""

import numpy as np

from router_training.routers.methods.base import Floats

_STEPS = 50
_LONGEST_STEP = 3.0
_CLOSE = 1e-8


def most_probable(phi_P_K: Floats, credit_P: Floats, start_P: Floats, variance: float) -> Floats:
    """u (K,) that is most probable if credit has the log odds start + phi u and u ~ N(0, variance)."""
    u_K = np.zeros(phi_P_K.shape[1])
    for _ in range(_STEPS):
        said_P = sigmoid(start_P + phi_P_K @ u_K)
        gradient_K = phi_P_K.T @ (said_P - credit_P) + u_K / variance
        curvature_K_K = (phi_P_K * (said_P * (1 - said_P))[:, None]).T @ phi_P_K + np.eye(len(u_K)) / variance
        step_K = np.linalg.solve(curvature_K_K, gradient_K)
        longest = float(np.abs(step_K).max())
        u_K = u_K - step_K * min(1.0, _LONGEST_STEP / max(longest, _CLOSE))
        if longest < _CLOSE:
            break
    return u_K


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x) in float64, without overflow."""
    result: Floats = 0.5 * (np.tanh(0.5 * logits) + 1)
    return result
