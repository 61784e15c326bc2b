import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from router_core.errors import BundleError
from router_core.tensors import AnyArray, Tensors


def tensors(**named: npt.ArrayLike) -> Tensors:
    """Tensors of file `f`, with 3 models, whose names are given with __ for a dot."""
    kept: dict[str, AnyArray] = {name.replace("__", "."): np.asarray(value) for name, value in named.items()}
    return Tensors(kept, "f", {"M": 3})


def floats(*shape: int) -> npt.NDArray[np.float32]:
    return np.ones(shape, dtype=np.float32)


def test_a_tensor_is_handed_out_as_it_is() -> None:
    weight = floats(3, 2)
    held = tensors(a__weight=weight)
    assert held.take("a.weight", "M D") is weight
    assert "a.weight" in held
    assert "a.bias" not in held


def test_an_axis_has_the_size_of_its_first_tensor() -> None:
    held = tensors(weight=floats(5, 2), bias=floats(5), other=floats(4))
    held.take("weight", "T D")
    held.take("bias", "T")
    with pytest.raises(BundleError, match=r"^f: other: shape is \(4,\), expected \(T\) with T = 5$"):
        held.take("other", "T")


@given(shape=array_shapes(max_dims=4, max_side=3), data=st.data())
def test_a_shape_is_taken_by_its_own_axes_and_no_others(shape: tuple[int, ...], data: st.DataObject) -> None:
    sizes = {letter: data.draw(st.integers(1, 3)) for letter in "ABCD"}
    letters = data.draw(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=4))
    held = Tensors({"x": np.ones(shape, dtype=np.float32)}, "f", sizes)
    if tuple(sizes[letter] for letter in letters) == shape:
        assert held.take("x", " ".join(letters)).shape == shape
    else:
        with pytest.raises(BundleError, match="f: x: shape is"):
            held.take("x", " ".join(letters))


@given(values=arrays(np.float32, array_shapes(max_dims=2, max_side=4)))
def test_only_finite_figures_are_handed_out(values: npt.NDArray[np.float32]) -> None:
    held = Tensors({"x": values}, "f", {})
    if all(np.isfinite(value) for value in values.ravel().tolist()):
        assert held.take("x", "A" if values.ndim == 1 else "A B") is values
    else:
        with pytest.raises(BundleError, match="f: x: holds NaN or infinity"):
            held.take("x", "A" if values.ndim == 1 else "A B")


@pytest.mark.parametrize(
    ("value", "axes", "message"),
    [
        (np.ones(3), "M", "f: x: dtype is float64, expected float32"),
        (floats(4), "M", r"f: x: shape is \(4,\), expected \(M\) with M = 3"),
        (floats(3, 1), "M", r"f: x: shape is \(3, 1\), expected \(M\) with M = 3"),
        (floats(), "M", r"f: x: shape is \(\), expected \(M\)"),
        (floats(2), "one", r"f: x: shape is \(2,\), expected \(one\) with one = 1"),
        (floats(0), "K", r"f: x: shape is \(0,\), expected \(K\)"),
        (floats(2, 0), "K D", r"f: x: shape is \(2, 0\), expected \(K, D\)"),
    ],
)
def test_what_does_not_fit_is_named(value: AnyArray, axes: str, message: str) -> None:
    with pytest.raises(BundleError, match=f"^{message}"):
        tensors(x=value).take("x", axes)


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(BundleError, match=r"^f: tensor 'scorer.weight' is missing$"):
        tensors().take("scorer.weight", "M")


def test_a_tensor_that_nobody_takes_is_refused() -> None:
    held = tensors(a=floats(3), b=floats(3), c=floats(3))
    held.take("b", "M")
    with pytest.raises(BundleError, match=r"^f: unknown tensor 'a'$"):
        held.refuse_rest()
    held.take("a", "M")
    held.take("c", "M")
    held.refuse_rest()


def test_hashes_rise_and_may_be_absent() -> None:
    hashes = np.array([0, 7, 2**64 - 1], dtype=np.uint64)
    held = tensors(h=hashes)
    assert held.take_hashes("h") is hashes
    held.refuse_rest()
    assert tensors().take_hashes("h") is None
    assert tensors(h=np.empty(0, dtype=np.uint64)).take_hashes("h") is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1, 2], dtype=np.int64), r"f: h: is int64 \(2,\), expected uint64 in one dimension"),
        (np.array([[1, 2]], dtype=np.uint64), r"f: h: is uint64 \(1, 2\), expected uint64"),
        (np.array([2, 1], dtype=np.uint64), "f: h: must rise"),
        (np.array([1, 1], dtype=np.uint64), "f: h: must rise"),
    ],
)
def test_bad_hashes_are_refused(value: AnyArray, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        tensors(h=value).take_hashes("h")
