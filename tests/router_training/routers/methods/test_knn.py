import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.knn import fit

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(50, 6)).astype(np.float32)
CREDIT = RNG.uniform(-1, 1, size=(50, 3))
DATA = FitData(VECTORS, CREDIT, np.zeros_like(CREDIT), ("a",) * 40 + ("b",) * 10)
QUERIES = RNG.normal(size=(20, 6)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_it_is_scikit_learns_regression_on_neighbours(k: int, sharpness: float) -> None:
    theirs = KNeighborsRegressor(n_neighbors=k, metric="cosine", weights=lambda far: np.exp(-sharpness * far))
    expected = theirs.fit(VECTORS, CREDIT).predict(QUERIES)
    np.testing.assert_allclose(quality_of(fit(DATA, k=k, sharpness=sharpness), QUERIES, 3), expected, atol=1e-4)


def test_one_neighbour_remembers_the_training_queries() -> None:
    np.testing.assert_allclose(quality_of(fit(DATA, k=1), VECTORS, 3), CREDIT, atol=1e-6)


def test_neighbours_are_kept_as_unit_vectors() -> None:
    np.testing.assert_allclose(np.linalg.norm(fit(DATA).tensors["neighbours"], axis=1), 1.0, rtol=1e-5)


def test_no_more_neighbours_than_queries() -> None:
    fitted = fit(DATA, k=1000)
    np.testing.assert_allclose(quality_of(fitted, QUERIES, 3), np.tile(CREDIT.mean(axis=0), (20, 1)), atol=1e-5)
    assert fitted.settings["k"] == 1000
