"""The `routerdc` scorer: cosine between a query's vector and each LLM's learned embedding.

Chen, Jiang, Lin, Kwok, Zhang: "RouterDC: Query-Based Router by Dual Contrastive Learning for Assembling Large Language
Models", NeurIPS 2024 (arXiv 2409.19886): the score of LLM m for query x is cos(E(x), k_m), where E is the encoder,
followed by the bundle's linear head when the encoder is frozen.

    llm_embeddings     (M, P)   k_m
    projection.weight  (P, D)   the head; absent when the encoder itself was trained (then P = D)
    projection.bias    (P,)     present exactly when projection.weight is
"""

from typing import ClassVar

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray, unit_rows
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class RouterDC:
    """See the module."""

    gives_probabilities: ClassVar[bool] = False

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        weight, bias = f"{prefix}projection.weight", f"{prefix}projection.bias"
        if (weight in tensors) != (bias in tensors):
            raise BundleError(f"{tensors.where}: {weight} and {bias} come together; one is missing")
        self._head: tuple[FloatArray, FloatArray] | None = None
        width = "D"
        if weight in tensors:
            width = f"P:{prefix}"
            self._head = (tensors.take(weight, f"{width} D").T, tensors.take(bias, width))
        self._llm_P_M = unit_rows(tensors.take(f"{prefix}llm_embeddings", f"M {width}")).T

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """Cosines (B, M)."""
        query_B_P = vectors_B_D
        if self._head is not None:
            query_B_P = vectors_B_D @ self._head[0] + self._head[1]
        cosines: FloatArray = unit_rows(query_B_P) @ self._llm_P_M
        return cosines
