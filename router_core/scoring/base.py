"""What every scorer is: a pure function from query vectors to one figure per model, over tensors of a bundle.

A scorer's figures need only be comparable within a query, unless it says `gives_probabilities`; calibration.py turns
them into the probability that each model answers right.

Promise: pure numpy, no state beyond the weights, safe to call from many threads. Axis suffixes: B queries, D encoder
dimensions, M models; a scorer names its further axes in its own module.
"""

from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Scorer(Protocol):
    """Made from a bundle's tensors, `Name(tensors, prefix, options)`; raises BundleError if they do not fit."""

    gives_probabilities: ClassVar[bool]
    """True if the figures are estimates, within 0..1, of the probability that a model answers right."""

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """Figures (B, M), higher is better. May overflow to infinity or NaN; the caller checks."""
        ...


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis; sums to 1 to float32 precision."""
    # The ufuncs' own reductions: for one query the arrays' methods cost more than the arithmetic.
    largest: FloatArray = np.maximum.reduce(logits, axis=-1, keepdims=True)
    powers: FloatArray = np.exp(logits - largest)
    total: FloatArray = np.add.reduce(powers, axis=-1, keepdims=True)
    return powers / total


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + e^-x), without overflow for any finite x."""
    result: FloatArray = np.float32(0.5) * (np.tanh(np.float32(0.5) * logits) + np.float32(1))
    return result


def unit_rows(rows: FloatArray) -> FloatArray:
    """Each row divided by its length; a zero row stays zero, equally (un)like everything."""
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    result: FloatArray = rows / norms
    return result
