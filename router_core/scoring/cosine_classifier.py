"""The `cosine_classifier` scorer: which model is right, as a classification by cosine.

Gidaris and Komodakis: "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018 (arXiv 1804.09458), with one
class per model:

    quality(m | x) = log of softmax over m of cos(x, w[m]) / t

The softmax is the model's share in being right, not the probability that it is: it is the same whether all models know
the answer or one in ten does. Hence these are no probabilities; calibration.py makes them so.

    weight (M, D)   w       temperature (1,)   t, above 0
"""

from typing import ClassVar

import numpy as np

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray, unit_rows
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class CosineClassifier:
    """See the module."""

    gives_probabilities: ClassVar[bool] = False

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        self._weight_D_M = unit_rows(tensors.take(f"{prefix}weight", "M D")).T
        self._temperature = tensors.take(f"{prefix}temperature", "one")[0]
        if self._temperature <= 0:
            raise BundleError(f"{tensors.where}: {prefix}temperature: {self._temperature:g} must be above 0")

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """Log of each model's share in being right, (B, M)."""
        logits_B_M = unit_rows(vectors_B_D) @ self._weight_D_M / self._temperature
        logits_B_M -= logits_B_M.max(axis=1, keepdims=True)
        shares: FloatArray = logits_B_M - np.log(np.exp(logits_B_M).sum(axis=1, keepdims=True))
        return shares
