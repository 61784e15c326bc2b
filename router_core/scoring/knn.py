"""The `knn` scorer: a vote of the training queries that are nearest to the query.

Li: "Rethinking Predictive LLM Routing: When Simple KNN Beats Complex Learned Routers" (arXiv 2505.12601):

    P(m right | x) = sum over n in nearest(x) of w[n] * credit[n, m] / sum of w[n]
    w[n] = exp(sharpness * (cos(x, neighbours[n]) - largest cosine))

nearest(x) are the k training queries with the largest cosine. Sharpness 0 counts every vote alike.

    neighbours (N, D)   vectors of the training queries      credit (N, M)   what each model earned on them
    k (1,)              whole, 1..N                           sharpness (1,)  0 or more

The figures lie within the range of `credit`, which is 0..1 but for a scorer of residuals. Which of several queries at
exactly the k-th cosine votes is not defined.

Axis letter N: training queries, k the nearest of them.
"""

from typing import ClassVar

import numpy as np

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray, unit_rows
from router_core.scoring.registry import Options
from router_core.tensors import Tensors

QUERIES_AT_ONCE = 256
"""Bounds the memory of a large batch: this many rows of N cosines."""


class KNN:
    """See the module."""

    gives_probabilities: ClassVar[bool] = True

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        neighbours = f"N:{prefix}"
        self._neighbours_D_N = unit_rows(tensors.take(f"{prefix}neighbours", f"{neighbours} D")).T
        self._credit_N_M = tensors.take(f"{prefix}credit", f"{neighbours} M")
        k, self._sharpness = tensors.take(f"{prefix}k", "one")[0], tensors.take(f"{prefix}sharpness", "one")[0]
        if k != np.floor(k) or not 1 <= k <= len(self._credit_N_M):
            raise BundleError(f"{tensors.where}: {prefix}k: {k:g} is no count of 1..{len(self._credit_N_M)} neighbours")
        if self._sharpness < 0:
            raise BundleError(f"{tensors.where}: {prefix}sharpness: {self._sharpness:g} must be 0 or more")
        self._k = int(k)

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """P(m right | x), (B, M)."""
        starts = range(0, len(vectors_B_D), QUERIES_AT_ONCE)
        parts = [self._vote(vectors_B_D[start : start + QUERIES_AT_ONCE]) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, self._credit_N_M.shape[1]), dtype=np.float32)

    def _vote(self, vectors_B_D: FloatArray) -> FloatArray:
        cosines_B_N = unit_rows(vectors_B_D) @ self._neighbours_D_N
        nearest_B_k = np.argpartition(-cosines_B_N, self._k - 1, axis=1)[:, : self._k]
        cosines_B_k = np.take_along_axis(cosines_B_N, nearest_B_k, axis=1)
        weights_B_k = np.exp(self._sharpness * (cosines_B_k - cosines_B_k.max(axis=1, keepdims=True)))
        weights_B_k /= weights_B_k.sum(axis=1, keepdims=True)
        voted: FloatArray = (weights_B_k[:, None, :] @ self._credit_N_M[nearest_B_k])[:, 0, :]
        return voted
