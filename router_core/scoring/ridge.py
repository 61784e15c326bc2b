"""The `ridge` scorer: a linear regression of what each model earns on the query's vector.

    quality(m | x) = weight[m] . x + bias[m]

    weight (M, D)   bias (M,)     what standardises the vectors is folded into them

A straight line leaves 0..1 at its ends, and clipping it there would make the best models equal. So the figures are
left as they are and are no probabilities; calibration.py makes them so.
"""

from typing import ClassVar

from router_core.scoring.base import FloatArray
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class Ridge:
    """See the module."""

    gives_probabilities: ClassVar[bool] = False

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        self._weight_D_M = tensors.take(f"{prefix}weight", "M D").T
        self._bias_M = tensors.take(f"{prefix}bias", "M")

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """Expected credit (B, M), not clipped."""
        figures: FloatArray = vectors_B_D @ self._weight_D_M + self._bias_M
        return figures
