"""The tensors of a bundle, handed out by name and checked on the way: present, float32, finite, of the right shape.

Axes have names ("M", "D", ...). An axis whose size is known must have it ("one" has one element); one seen for the
first time gets its size from the tensor. So after `take("scorer.weight", "T D")` the tensor of
`take("scorer.bias", "T")` must be as long as that has rows.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from router_core.errors import BundleError

FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]


class Tensors:
    """`sizes` are the axes known beforehand; `where` (the file) starts every message."""

    def __init__(self, tensors: Mapping[str, AnyArray], where: str, sizes: Mapping[str, int]) -> None:
        self.where = where
        self.sizes = {"one": 1, **sizes}
        self._tensors = MappingProxyType(dict(tensors))
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str, axes: str) -> FloatArray:
        """The float32 tensor `name`, whose axes are named in `axes`, as in "T D". Raises BundleError."""
        tensor = self._named(name)
        if tensor.dtype != np.float32:
            raise BundleError(f"{self.where}: {name}: dtype is {tensor.dtype}, expected float32")
        if not np.isfinite(tensor).all():
            raise BundleError(f"{self.where}: {name}: holds NaN or infinity")
        letters = axes.split()
        expected = tuple(self.sizes.get(letter, size) for letter, size in zip(letters, tensor.shape, strict=False))
        if len(letters) != tensor.ndim or expected != tensor.shape or 0 in tensor.shape:
            # What follows a colon tells axes of like name apart and says nothing to a reader.
            shown = {letter: letter.partition(":")[0] for letter in letters}
            known = ", ".join(f"{shown[letter]} = {self.sizes[letter]}" for letter in letters if letter in self.sizes)
            raise BundleError(
                f"{self.where}: {name}: shape is {tensor.shape}, expected ({', '.join(shown.values())})"
                + (f" with {known}" if known else "")
            )
        self.sizes.update(zip(letters, tensor.shape, strict=True))
        return tensor

    def take_hashes(self, name: str) -> npt.NDArray[np.uint64] | None:
        """The one-dimensional, rising uint64 tensor `name`; None if there is none."""
        if name not in self:
            return None
        tensor = self._named(name)
        if tensor.dtype != np.uint64 or tensor.ndim != 1:
            raise BundleError(
                f"{self.where}: {name}: is {tensor.dtype} {tensor.shape}, expected uint64 in one dimension"
            )
        if (tensor[1:] <= tensor[:-1]).any():
            raise BundleError(f"{self.where}: {name}: must rise, each once")
        return tensor

    def refuse_rest(self) -> None:
        """Raise BundleError if a tensor was never taken."""
        rest = sorted(self._tensors.keys() - self._taken)
        if rest:
            raise BundleError(f"{self.where}: unknown tensor {rest[0]!r}")

    def _named(self, name: str) -> AnyArray:
        if name not in self._tensors:
            raise BundleError(f"{self.where}: tensor {name!r} is missing")
        self._taken.add(name)
        return self._tensors[name]
