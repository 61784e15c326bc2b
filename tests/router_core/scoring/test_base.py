import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from router_core.scoring.base import FloatArray, sigmoid, softmax, unit_rows

FIGURES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-80, 80, width=32))


@given(FIGURES)
def test_softmax_and_sigmoid_are_scipys(logits: FloatArray) -> None:
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(np.float64), axis=1), atol=1e-6)
    np.testing.assert_allclose(sigmoid(logits), expit(logits.astype(np.float64)), atol=1e-6)


def test_neither_overflows() -> None:
    huge = np.array([[1e38, -1e38, 0.0]], dtype=np.float32)
    assert softmax(huge).tolist() == [[1.0, 0.0, 0.0]]
    assert sigmoid(huge).tolist() == [[1.0, 0.0, 0.5]]


@given(FIGURES)
def test_rows_become_unit_vectors_of_the_same_direction(rows: FloatArray) -> None:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    kept = lengths[:, 0] > 1e-6
    unit = unit_rows(rows)
    np.testing.assert_allclose(np.linalg.norm(unit[kept], axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose((unit * lengths)[kept], rows[kept], rtol=1e-4, atol=1e-6)


def test_a_zero_row_stays_zero() -> None:
    assert unit_rows(np.array([[0, 0], [3, 4]], dtype=np.float32)).ravel().tolist() == pytest.approx([0, 0, 0.6, 0.8])


def test_figures_stay_float32() -> None:
    rows = np.ones((2, 3), dtype=np.float32)
    assert softmax(rows).dtype == sigmoid(rows).dtype == unit_rows(rows).dtype == np.float32
