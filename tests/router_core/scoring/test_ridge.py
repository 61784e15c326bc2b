import numpy as np
import pytest

from router_core.scoring.ridge import Ridge
from router_core.tensors import Tensors


def scorer(weight: object, bias: object) -> Ridge:
    arrays = {"weight": np.array(weight, dtype=np.float32), "bias": np.array(bias, dtype=np.float32)}
    models, dimensions = arrays["weight"].shape
    return Ridge(Tensors(arrays, "f", {"D": dimensions, "M": models}), "", {})


def test_a_straight_line_by_hand() -> None:
    quality = scorer([[1, 2], [0, -1]], [0.5, 1]).quality(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert quality.tolist() == [[11.5, -3.0], [0.5, 1.0]]


def test_it_is_the_sum_over_the_dimensions() -> None:
    rng = np.random.default_rng(0)
    weight, bias, queries = rng.normal(size=(4, 7)), rng.normal(size=4), rng.normal(size=(9, 7))
    expected = [[sum(w * x for w, x in zip(weight[m], q, strict=True)) + bias[m] for m in range(4)] for q in queries]
    np.testing.assert_allclose(scorer(weight, bias).quality(queries.astype(np.float32)), expected, rtol=1e-4, atol=1e-5)


def test_figures_leave_0_to_1_and_so_are_no_probabilities() -> None:
    quality = scorer([[1], [2]], [0, 0]).quality(np.array([[5], [-5]], dtype=np.float32))
    assert quality.tolist() == [[5, 10], [-5, -10]]
    assert not Ridge.gives_probabilities


def test_straight_lines_add_up() -> None:
    rng = np.random.default_rng(1)
    ridge = scorer(rng.normal(size=(3, 4)), np.zeros(3))
    a, b = rng.normal(size=(2, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(ridge.quality(a + 2 * b), ridge.quality(a) + 2 * ridge.quality(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_models_are_scored_each_by_itself(order: list[int]) -> None:
    rng = np.random.default_rng(2)
    weight, bias, queries = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        scorer(weight[order], bias[order]).quality(queries), scorer(weight, bias).quality(queries)[:, order], rtol=1e-5
    )
