"""Vectors brought to mean 0 and spread 1 in every dimension before a fit, and folded back into its weights after it.

Mean and spread are task-balanced (FitData.weights). A dimension without spread says nothing and gets weight 0.

Axis suffixes: N queries, D encoder dimensions, K outputs of a linear layer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router_core.scoring.base import FloatArray
from router_training.routers.methods.base import FitData, Floats

LEAST_SPREAD = 1e-6
"""Of the mean: less is the rounding of a constant."""


@dataclass(frozen=True)
class Standardising:
    """z = (x - mean) * scale, with the mean (D,) and one over the spread (D,) of the training queries."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, data: FitData) -> "Standardising":
        """The task-balanced mean and spread of the queries."""
        weights_N = data.weights / len(data)
        vectors_N_D = data.vectors.astype(np.float64)
        mean_D = weights_N @ vectors_N_D
        spread_D = np.sqrt(weights_N @ (vectors_N_D - mean_D) ** 2)
        says_something = spread_D > LEAST_SPREAD * np.abs(mean_D)
        return cls(mean_D, np.where(says_something, 1.0 / np.where(says_something, spread_D, 1.0), 0.0))

    def apply(self, vectors_N_D: FloatArray) -> Floats:
        """z (N, D)."""
        standardised: Floats = (vectors_N_D - self.mean) * self.scale
        return standardised

    def fold(
        self, weight_K_D: npt.NDArray[np.floating], bias_K: npt.NDArray[np.floating]
    ) -> tuple[FloatArray, FloatArray]:
        """The layer that gives on x what `weight_K_D . z + bias_K` gives on z: weight (K, D) and bias (K,)."""
        folded_K_D = weight_K_D * self.scale
        return folded_K_D.astype(np.float32), (bias_K - folded_K_D @ self.mean).astype(np.float32)
