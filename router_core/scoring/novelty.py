"""How unlike the training queries a query is: 0 like them, near 1 so far off that hardly a thing is known of it.

    distance(x) = min over k of sqrt( mean over d of ((x[d] - centroid[k, d]) * scale[d])^2 )
    novelty(x)  = clip((distance - bounds[0]) / (bounds[1] - bounds[0]), 0, 0.95), then 1 - (1 - novelty) (1 - lost / 2)

`lost` is the share of the text that the encoder had to cut off. Novelty never reaches 1: of a strange query the scorer
knows little, but nobody knows more. The trainer takes one centroid per task (or cluster), one scale per dimension, and
the bounds from distances of held-out training queries.

    centroids (K, D)    scale (D,)    bounds (2,)    base_rates (M,)  mean correctness of each model over the tasks
"""

import numpy as np
import numpy.typing as npt

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray
from router_core.tensors import Tensors

# Arrays, not numbers, which numpy would turn into arrays at every query.
_ZERO, _LEAST_KNOWN, _HALF, _ONE = (np.array(number, dtype=np.float32) for number in (0, 0.05, 0.5, 1))


class Novelty:
    """The novelty score of a bundle. Raises BundleError for tensors that do not fit."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        centroids_K_D = tensors.take(f"{prefix}centroids", f"K:{prefix} D")
        scale_D = tensors.take(f"{prefix}scale", "D")
        self.base_rate = tensors.take(f"{prefix}base_rates", "M").mean()
        bounds = tensors.take(f"{prefix}bounds", f"2:{prefix}")
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1]:
            raise BundleError(f"{tensors.where}: {prefix}bounds: {bounds.tolist()} must be two rising distances")
        # With the root of D in the scale, the mean over d is a sum.
        self._scale_D = scale_D / np.sqrt(np.float32(len(scale_D)))
        scaled_K_D = centroids_K_D * self._scale_D
        self._scaled_D_K = np.float32(-2) * scaled_K_D.T
        self._norms_K = (scaled_K_D**2).sum(axis=1)
        self._per_span, self._reach = np.array(1 / (bounds[1] - bounds[0])), np.array(bounds[1])

    def distances(self, vectors_B_D: FloatArray) -> FloatArray:
        """Distance (B,) to the nearest centroid."""
        scaled_B_D = vectors_B_D * self._scale_D
        # |x - c|^2 = |x|^2 - 2 x c + |c|^2, of which only the last two differ between centroids.
        nearest_B = np.minimum.reduce(scaled_B_D @ self._scaled_D_K + self._norms_K, axis=1)
        distance: FloatArray = np.sqrt(np.maximum(nearest_B + np.vecdot(scaled_B_D, scaled_B_D), _ZERO))
        return distance

    def novelty(self, vectors_B_D: FloatArray, lost_B: npt.NDArray[np.float32]) -> FloatArray:
        """Novelty (B,), at least 0 and below 1."""
        near_B = np.minimum((self._reach - self.distances(vectors_B_D)) * self._per_span, _ONE)
        mixed: FloatArray = _ONE - np.maximum(near_B, _LEAST_KNOWN) * (_ONE - lost_B * _HALF)
        return mixed
