import numpy as np
import pytest

from router_training.routers.methods.base import FitData
from router_training.routers.methods.standardising import Standardising

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(40, 3)) * [1, 20, 0.01] + [5, -3, 0]).astype(np.float32)
TASKS = ("many",) * 30 + ("few",) * 10


def data(vectors: np.ndarray = VECTORS) -> FitData:
    credit = np.zeros((len(vectors), 2))
    return FitData(vectors, credit, credit, TASKS)


def test_mean_and_spread_are_balanced_over_the_tasks() -> None:
    by_hand = (VECTORS[:30].mean(axis=0) + VECTORS[30:].mean(axis=0)) / 2
    standardising = Standardising.of(data())
    np.testing.assert_allclose(standardising.mean, by_hand, rtol=1e-5, atol=1e-6)
    z = standardising.apply(VECTORS)
    squares = (z**2)[:30].mean(axis=0) / 2 + (z**2)[30:].mean(axis=0) / 2
    assert squares.tolist() == pytest.approx([1, 1, 1])


def test_a_dimension_that_never_varies_says_nothing() -> None:
    constant = VECTORS.copy()
    constant[:, 1] = 0.1
    z = Standardising.of(data(constant)).apply(VECTORS)
    assert (z[:, 1] == 0).all()
    assert (z[:, 0] != 0).all()


def test_equal_vectors_leave_nothing() -> None:
    assert (Standardising.of(data(np.ones((40, 3), np.float32))).apply(VECTORS) == 0).all()


def test_a_folded_layer_reads_the_vectors_as_they_are() -> None:
    standardising = Standardising.of(data())
    weight, bias = RNG.normal(size=(4, 3)), RNG.normal(size=4)
    folded_weight, folded_bias = standardising.fold(weight, bias)
    expected = standardising.apply(VECTORS) @ weight.T + bias
    np.testing.assert_allclose(VECTORS @ folded_weight.T + folded_bias, expected, atol=1e-3)
    assert folded_weight.dtype == folded_bias.dtype == np.float32
