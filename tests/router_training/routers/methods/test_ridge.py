import numpy as np
import pytest
from sklearn.linear_model import Ridge

from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.ridge import fit

RNG = np.random.default_rng(0)
N = 90
VECTORS = (RNG.normal(size=(N, 4)) * [1, 5, 0.1, 2] + [0, 3, 1, -2]).astype(np.float32)
TASKS = ("a",) * 60 + ("b",) * 30
CREDIT = RNG.integers(0, 2, size=(N, 3)).astype(float)


def data(credit: np.ndarray = CREDIT, vectors: np.ndarray = VECTORS, tasks: tuple[str, ...] = TASKS) -> FitData:
    return FitData(vectors, credit, np.zeros_like(credit), tasks)


def test_one_dimension_by_hand() -> None:
    # z is -1, 1; the slope without penalty is (1 * 1) / 2 = 0.5, and with alpha 2 half of it; the mean is 0.5.
    vectors = np.array([[3.0], [5.0]], dtype=np.float32)
    one = data(np.array([[0.0], [1.0]]), vectors, ("a", "a"))
    queries = np.array([[5.0], [4.0], [7.0]], dtype=np.float32)
    assert quality_of(fit(one, alpha=0.0), queries, 1).ravel().tolist() == pytest.approx([1.0, 0.5, 2.0], abs=1e-5)
    assert quality_of(fit(one, alpha=2.0), queries, 1).ravel().tolist() == pytest.approx([0.75, 0.5, 1.25], abs=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("shift", [0.0, -0.7], ids=["credit", "residuals"])
def test_it_is_scikit_learns_weighted_ridge(alpha: float, shift: float) -> None:
    one = data(CREDIT + shift)
    mean = np.average(VECTORS, axis=0, weights=one.weights)
    spread = np.sqrt(np.average((VECTORS - mean) ** 2, axis=0, weights=one.weights))
    theirs = Ridge(alpha=alpha).fit((VECTORS - mean) / spread, one.credit, sample_weight=one.weights)
    expected = theirs.predict((VECTORS - mean) / spread)
    np.testing.assert_allclose(quality_of(fit(one, alpha=alpha), VECTORS, 3), expected, atol=1e-4)


def test_repeating_a_task_changes_nothing() -> None:
    rows = np.r_[np.arange(N), np.arange(60)]  # task a twice
    repeated = data(CREDIT[rows], VECTORS[rows], tuple(TASKS[row] for row in rows))
    once = quality_of(fit(data(), alpha=9.0), VECTORS, 3)
    twice = quality_of(fit(repeated, alpha=9.0 * len(rows) / N), VECTORS, 3)
    np.testing.assert_allclose(twice, once, atol=1e-5)


def test_the_scale_and_origin_of_a_dimension_do_not_matter() -> None:
    moved = (VECTORS * [3, 0.2, 10, 1] + [1, 2, 3, 4]).astype(np.float32)
    np.testing.assert_allclose(
        quality_of(fit(data(vectors=moved)), moved, 3), quality_of(fit(data()), VECTORS, 3), atol=1e-5
    )


def test_a_large_penalty_leaves_the_mean_over_the_tasks() -> None:
    overall = (CREDIT[:60].mean(axis=0) + CREDIT[60:].mean(axis=0)) / 2
    quality = quality_of(fit(data(), alpha=1e9), VECTORS, 3)
    np.testing.assert_allclose(quality, np.tile(overall, (N, 1)), atol=1e-4)


def test_more_dimensions_than_queries_and_constant_ones_can_be_fitted() -> None:
    wide = np.hstack([RNG.normal(size=(5, 20)), np.full((5, 1), 7.0)]).astype(np.float32)
    fitted = fit(data(CREDIT[:5], wide, ("a",) * 5), alpha=1.0)
    assert (fitted.tensors["weight"][:, -1] == 0).all()
    assert np.isfinite(quality_of(fitted, wide, 3)).all()
