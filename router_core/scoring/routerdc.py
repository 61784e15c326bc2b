"""Scorers by name: query embeddings -> how well each LLM of the bundle should answer.

The `routerdc` scorer (Chen et al., "RouterDC: Query-Based Router by Dual Contrastive Learning for Assembling Large
Language Models", NeurIPS 2024): the score of LLM m for query x is cos(E(x), k_m), where E is the encoder (followed by
the bundle's linear head when the encoder is frozen) and k_m the LLM's learned embedding.

Promise: pure numpy, no state beyond the weights, safe to call from many threads. Axis suffixes: B queries, D encoder
dimensions, P width of the routing space, M models.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from router_core.bundle import RouterBundle
from router_core.errors import BundleError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Scores of B queries for the M models, in the bundle's order.

    `similarities` are the scorer's own figures (for routerdc: cosines); `confidences` are their softmax at the
    bundle's `confidence_temperature`, so each row sums to 1.
    """

    similarities: FloatArray
    confidences: FloatArray

    def ranking(self) -> npt.NDArray[np.intp]:
        """(B, M): for each query the indices of ALL models, best first; ties keep the bundle's order."""
        return np.argsort(-self.similarities, axis=1, kind="stable")


class Scorer(Protocol):
    """Anything that can rank the models of a bundle."""

    @property
    def models(self) -> tuple[str, ...]:
        """LLM names, in the order of the score columns."""
        ...

    def score(self, embeddings_B_D: FloatArray) -> Scores:
        """Score B query embeddings. Raises BundleError if they do not fit the bundle."""
        ...


class RouterDCScorer:
    """Cosine between the projected query and each LLM's embedding."""

    def __init__(self, bundle: RouterBundle) -> None:
        weights = bundle.weights
        self._models = bundle.models
        self._dimensions = bundle.encoder.dimensions
        self._temperature = np.float32(bundle.manifest.confidence_temperature)
        self._weight_P_D = weights.projection_weight
        self._bias_P = weights.projection_bias
        self._llm_M_P = _unit_rows(weights.llm_embeddings)

    @property
    def models(self) -> tuple[str, ...]:
        """LLM names, in the order of the score columns."""
        return self._models

    def score(self, embeddings_B_D: FloatArray) -> Scores:
        """Score B query embeddings, float32 (B, D). Raises BundleError if they do not fit the bundle."""
        if embeddings_B_D.ndim != 2 or embeddings_B_D.shape[1] != self._dimensions:
            raise BundleError(
                f"the bundle scores embeddings of shape (queries, {self._dimensions}), "
                f"the encoder gave {embeddings_B_D.shape}: it is not the encoder that the bundle was trained with"
            )
        if not np.isfinite(embeddings_B_D).all():
            raise BundleError("the encoder gave an embedding that holds NaN or infinity")
        query_B_P = embeddings_B_D.astype(np.float32, copy=False)
        if self._weight_P_D is not None and self._bias_P is not None:
            query_B_P = query_B_P @ self._weight_P_D.T + self._bias_P
        similarities_B_M = _unit_rows(query_B_P) @ self._llm_M_P.T
        if not np.isfinite(similarities_B_M).all():
            raise BundleError("the bundle's weights are so large that its scores overflow: train it again")
        return Scores(similarities_B_M, softmax(similarities_B_M / self._temperature))


def scorer_from_bundle(bundle: RouterBundle) -> Scorer:
    """The scorer that the bundle's manifest names. Raises BundleError."""
    scorers = {"routerdc": RouterDCScorer}
    name = bundle.manifest.scorer
    if name not in scorers:
        raise BundleError(f"{bundle.path}: scorer {name!r} is not known here; known: {', '.join(sorted(scorers))}")
    return scorers[name](bundle)


def softmax(logits_B_M: FloatArray) -> FloatArray:
    """Row-wise softmax; rows sum to 1 to float32 precision."""
    shifted = logits_B_M - logits_B_M.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    result: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return result


def _unit_rows(rows: FloatArray) -> FloatArray:
    # The floor keeps a zero vector at zero: it is then equally (un)like every model, instead of NaN.
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    result: FloatArray = rows / norms
    return result
