"""The `clusters` scorer: how good each model was on the training queries of the query's cluster.

Zhang et al.: "The Avengers: A Simple Recipe for Uniting Smaller Language Models to Challenge Proprietary Giants" (arXiv
2505.19797): embed, cluster, score each model within each cluster, send a query to the best model of its nearest one.

    P(m right | x) = credit[c(x), m],   c(x) = the cluster with the least |x - centroids[c]|, the first of equals

    centroids (C, D)    credit (C, M)   mean credit within the cluster, drawn towards the mean of all

The figures lie within the range of `credit`, which is 0..1 but for a scorer of residuals. Left out of the paper's
recipe: its last step, voting over repeated samples, which is no matter of routing.

Axis letter C: clusters.
"""

from typing import ClassVar

import numpy as np

from router_core.scoring.base import FloatArray
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class Clusters:
    """See the module."""

    gives_probabilities: ClassVar[bool] = True

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        clusters = f"C:{prefix}"
        centroids_C_D = tensors.take(f"{prefix}centroids", f"{clusters} D")
        self._credit_C_M = tensors.take(f"{prefix}credit", f"{clusters} M")
        self._centroids_D_C = centroids_C_D.T
        self._half_norms_C = np.float32(0.5) * (centroids_C_D**2).sum(axis=1)

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """P(m right | x), (B, M)."""
        # |x - c|^2 = |x|^2 - 2 (x . c - |c|^2 / 2): the nearest has the largest x . c - |c|^2 / 2.
        nearest_B = (vectors_B_D @ self._centroids_D_C - self._half_norms_C).argmax(axis=1)
        figures: FloatArray = self._credit_C_M[nearest_B]
        return figures
