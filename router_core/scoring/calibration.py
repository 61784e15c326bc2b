"""From a scorer's figures to the probability that each model answers right. Fitted on held-out folds by the trainer.

    method       probability of model m                                tensors
    none         the figure itself, clipped to 0..1                     -
    temperature  sigmoid(slope[m] * z + bias[m])                        slope (M,), bias (M,)
    isotonic     the piecewise linear map through (x[m], y[m]) at z     x (M, K), y (M, K), both rising along K

z is the scorer's figure, or its logit if the scorer gives probabilities. Temperature scaling: Guo et al., "On
Calibration of Modern Neural Networks", ICML 2017, with a bias as in Platt scaling; isotonic regression: Zadrozny and
Elkan, KDD 2002. Both maps rise, so neither reorders the queries of one model; with a map of its own for each model the
order of the models may change, and should.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray, sigmoid
from router_core.tensors import Tensors

CalibrationMethod = Literal["none", "temperature", "isotonic"]
EDGE = np.float32(1e-4)
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""


def logits_of(figures_B_M: FloatArray) -> FloatArray:
    """Log odds of probabilities (B, M)."""
    kept = np.minimum(np.maximum(figures_B_M, EDGE), np.float32(1) - EDGE)
    logits: FloatArray = np.log(kept / (np.float32(1) - kept))
    return logits


class Calibration:
    """The maps of a bundle. Raises BundleError for tensors that do not fit."""

    def __init__(self, method: CalibrationMethod, tensors: Tensors, prefix: str, *, from_probabilities: bool) -> None:
        self._method = method
        self._from_probabilities = from_probabilities
        if method == "temperature":
            self._slope_M = tensors.take(f"{prefix}slope", "M")
            self._bias_M = tensors.take(f"{prefix}bias", "M")
            if (self._slope_M < 0).any():
                raise BundleError(f"{tensors.where}: {prefix}slope: a calibration must not fall")
        elif method == "isotonic":
            x_M_K, y_M_K = tensors.take(f"{prefix}x", "M K"), tensors.take(f"{prefix}y", "M K")
            if (np.diff(x_M_K) <= 0).any() or (np.diff(y_M_K) < 0).any():
                raise BundleError(f"{tensors.where}: {prefix}x must rise and {prefix}y must not fall")
            self._join(x_M_K.astype(np.float64), y_M_K)
        elif not from_probabilities:
            raise BundleError(f"{tensors.where}: calibration none needs a scorer that gives probabilities")

    def probabilities(self, figures_B_M: FloatArray) -> FloatArray:
        """Probability (B, M) that each model answers right."""
        if self._method == "none":
            clipped: FloatArray = np.minimum(np.maximum(figures_B_M, 0), 1)
            return clipped
        z_B_M = logits_of(figures_B_M) if self._from_probabilities else figures_B_M
        if self._method == "temperature":
            return sigmoid(z_B_M * self._slope_M + self._bias_M)
        placed_B_M = np.minimum(np.maximum(z_B_M, self._low_M), self._high_M) + self._shift_M
        return np.interp(placed_B_M, self._knots, self._heights).astype(np.float32)

    def _join(self, x_M_K: npt.NDArray[np.float64], y_M_K: FloatArray) -> None:
        """Lay the M maps side by side on one axis, 1 apart: one search then serves all models."""
        self._low_M, self._high_M = x_M_K[:, 0], x_M_K[:, -1]
        width_M = self._high_M - self._low_M + 1
        self._shift_M = np.cumsum(width_M) - width_M - self._low_M
        self._knots, self._heights = (x_M_K + self._shift_M[:, None]).ravel(), y_M_K.ravel()
