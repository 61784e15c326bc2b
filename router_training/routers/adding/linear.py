"""Bayesian linear regression around a start, in closed form."""

import numpy as np

from router_training.routers.methods.base import Floats

_LEAST_NOISE = 1e-4


def posterior_mean(phi_P_K: Floats, left_P: Floats, variance: float) -> Floats:
    """u (K,) of left = phi u + noise, with u ~ N(0, variance) and the noise's variance that of `left`."""
    noise = noise_of(left_P)
    ridge = noise / variance * np.eye(phi_P_K.shape[1])
    mean_K = np.linalg.solve(phi_P_K.T @ phi_P_K + ridge, phi_P_K.T @ left_P)
    return np.asarray(mean_K, dtype=np.float64)


def noise_of(left_P: Floats) -> float:
    """Mean square of what the start leaves, kept above 0."""
    return max(float((left_P**2).mean()), _LEAST_NOISE)
