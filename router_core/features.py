"""The `features` encoder: query text -> a vector, with numpy alone and in tens of microseconds.

Two parts, D = K + S, each shifted by `mean` and multiplied by `scale`:

    n-grams   the text's bytes (UTF-8, A to Z as a to z) as n-grams of 2 to 5, hashed into H buckets; a bucket counts
              1 + ln(count), weighed by its inverse document frequency, and the whole has length 1; of that, K
              directions of a truncated SVD of the training queries
    surface   S shares that say what kind of text it is: length, lines, share of digits, capitals, blanks, quotes,
              brackets, operators, letters beyond ASCII, of wide scripts (Chinese, Japanese, Korean), ...

A text longer than `max_bytes` is read at its beginning and its end, half each; the share that was left out is told.

    projection (H, K)   idf times the SVD's directions    idf (H,)    mean (D,)    scale (D,)

Promise: the same text gives the same vector on every machine to float32 rounding; any string is accepted. The trainer
fits the tensors (router_training/routers/feature_fitting.py) with `ngram_counts` and `surface` from here.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from router_core.errors import BundleError
from router_core.manifest import MOST_NGRAM, FeaturesSpec
from router_core.tensors import Tensors

FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
PREFIX = "encoder."

_CLASSES = (
    b"0123456789",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b" \t\r",
    b"\n",
    b".",
    b",",
    b"?",
    b"!",
    b"\"'`",
    b"()",
    b"[]{}",
    b"=<>",
    b"+-*/^%",
    b":;",
    b"_#@&|~",
    b"\\",
    b"$",
    bytes(range(0x80, 0xE3)),
    bytes(range(0xE3, 0xEA)),
    bytes(range(0xEA, 0x100)),
)
SURFACE_DIMENSIONS = len(_CLASSES) + 2
"""S: the classes of bytes above, the length, and the mean length of a line."""


def _class_matrix() -> FloatArray:
    matrix = np.zeros((256, len(_CLASSES)), dtype=np.float32)
    for column, members in enumerate(_CLASSES):
        matrix[list(members), column] = 1.0
    return matrix


_BYTE_CLASSES = _class_matrix()
# 1 + ln(count), by count; nothing occurs 0 times.
_WEIGHT_OF_COUNT: FloatArray = (1.0 + np.log(np.maximum(np.arange(1 << 16), 1))).astype(np.float32)
_NEXT, _MIX, _FIRST_SHIFT, _SECOND_SHIFT = (np.array(one, np.uint32) for one in (0x01000193, 0x2C1B3C6D, 15, 12))
# (length, 1): what a byte is multiplied by as the first of an n-gram, then as the last of one of 2, 3, ... bytes.
_TERMS = np.array([[0x9E3779B1], *([0x85EBCA6B + 2 * length] for length in range(2, MOST_NGRAM + 1))], np.uint32)


def cut(text: str, max_bytes: int) -> tuple[bytes, float]:
    """The UTF-8 bytes that are read, at most `max_bytes`, and the share that is not, 0..1."""
    half, rest = max_bytes // 2, max_bytes - max_bytes // 2
    # A character is one to four bytes: no text of more characters than bytes has to be encoded whole.
    if len(text) > max_bytes:
        head, tail = text[:half].encode("utf-8", "replace"), text[-rest:].encode("utf-8", "replace")
        size = len(text) * (len(head) + len(tail)) / max_bytes  # as many bytes a character as in these
    else:
        head = tail = text.encode("utf-8", "replace")
        size = len(head)
        if size <= max_bytes:
            return head, 0.0
    return head[:half] + tail[-rest:], 1.0 - max_bytes / size


def ngram_counts(content: bytes, buckets: int, ngrams: Sequence[int]) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """The buckets that occur in `content`, rising, and 1 + ln(count) of each. `buckets` is a power of two."""
    data = np.frombuffer(b" " + content.lower() + b" ", dtype=np.uint8)
    size = len(data)
    terms = _TERMS[: max(ngrams)] * data
    hashed = np.empty(sum(max(0, size - length + 1) for length in set(ngrams)), dtype=np.uint32)
    rolling, filled = terms[0], 0
    # All lengths into one array, with constants that are arrays already: at this size a call costs as much as its work.
    for length in range(2, min(max(ngrams), size) + 1):
        count = size - length + 1
        out = hashed[filled : filled + count] if length in ngrams else None
        rolling = np.multiply(rolling[:-1], _NEXT, out)
        rolling ^= terms[length - 1, length - 1 :]
        filled += count if length in ngrams else 0
    hashed ^= hashed >> _FIRST_SHIFT
    hashed *= _MIX
    hashed ^= hashed >> _SECOND_SHIFT
    hashed &= buckets - 1
    counts = np.bincount(hashed, minlength=buckets)
    found = (counts != 0).nonzero()[0]  # of booleans: three times as fast as of counts
    return found, _WEIGHT_OF_COUNT.take(counts.take(found), mode="clip")


def surface(content: bytes) -> FloatArray:
    """The S surface features of a text, not yet standardised."""
    counts = np.bincount(np.frombuffer(content, dtype=np.uint8), minlength=256).astype(np.float32) @ _BYTE_CLASSES
    size = len(content) + 1.0
    lines = float(counts[3]) + 1.0
    features = np.empty(SURFACE_DIMENSIONS, dtype=np.float32)
    # Square roots of shares: a rare mark that says much (one "?", a "$") counts for more than its share.
    np.sqrt(counts / size, out=features[:-2])
    features[-2] = math.log(size)
    features[-1] = math.log(size / lines)
    return features


class FeaturesEncoder:
    """The encoder of a bundle. Raises BundleError for tensors that do not fit."""

    def __init__(self, spec: FeaturesSpec, tensors: Tensors) -> None:
        self.spec = spec
        tensors.sizes |= {"H": spec.buckets, "S": SURFACE_DIMENSIONS}
        self._projection_H_K = tensors.take(f"{PREFIX}projection", "H K:features")
        self._idf_H = tensors.take(f"{PREFIX}idf", "H")
        self._mean_D = tensors.take(f"{PREFIX}mean", "D")
        self._scale_D = tensors.take(f"{PREFIX}scale", "D")
        self._width = self._projection_H_K.shape[1]
        if self._width + SURFACE_DIMENSIONS != spec.dimensions:
            raise BundleError(
                f"{tensors.where}: {PREFIX}projection: {self._width} directions and {SURFACE_DIMENSIONS} surface "
                f"features make {self._width + SURFACE_DIMENSIONS} figures, not {spec.dimensions}"
            )

    def encode(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Vectors (B, D) and the share of each text that was cut off, (B,)."""
        vectors_B_D = np.empty((len(texts), self.spec.dimensions), dtype=np.float32)
        lost_B = np.zeros(len(texts), dtype=np.float32)
        for row, text in enumerate(texts):
            content, lost_B[row] = cut(text, self.spec.max_bytes)
            vectors_B_D[row, : self._width] = self._directions(content)
            vectors_B_D[row, self._width :] = surface(content)
        vectors_B_D -= self._mean_D
        vectors_B_D *= self._scale_D
        return vectors_B_D, lost_B

    def _directions(self, content: bytes) -> FloatArray | float:
        found, weight = ngram_counts(content, self.spec.buckets, self.spec.ngrams)
        weighted = weight * self._idf_H.take(found)
        length = math.sqrt(weighted @ weighted)
        if length == 0.0:  # no n-gram
            return 0.0
        weight /= length
        # `take` copies rows whole, which indexing does not.
        directions: FloatArray = weight @ self._projection_H_K.take(found, axis=0)
        return directions
