"""The `mlp` scorer: a network of one hidden layer that says for each model by itself whether it is right.

    P(m right | x) = sigmoid(out.weight[m] . max(0, hidden.weight . x + hidden.bias) + out.bias[m])

    hidden.weight (H, D)   hidden.bias (H,)     what standardises the vectors is folded into them
    out.weight (M, H)      out.bias (M,)

Axis letter H: hidden units.
"""

from typing import ClassVar

import numpy as np

from router_core.scoring.base import FloatArray, sigmoid
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class MLP:
    """See the module."""

    gives_probabilities: ClassVar[bool] = True

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        units = f"H:{prefix}"
        self._hidden_D_H = tensors.take(f"{prefix}hidden.weight", f"{units} D").T
        self._hidden_bias_H = tensors.take(f"{prefix}hidden.bias", units)
        self._out_H_M = tensors.take(f"{prefix}out.weight", f"M {units}").T
        self._out_bias_M = tensors.take(f"{prefix}out.bias", "M")

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """P(m right | x), (B, M)."""
        hidden_B_H = np.maximum(vectors_B_D @ self._hidden_D_H + self._hidden_bias_H, np.float32(0))
        return sigmoid(hidden_B_H @ self._out_H_M + self._out_bias_M)
