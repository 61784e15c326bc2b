import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core.errors import BundleError
from router_core.scoring.clusters import Clusters
from router_core.tensors import Tensors


def scorer(centroids: object, credit: object) -> Clusters:
    arrays = {
        "centroids": np.array(centroids, dtype=np.float32),
        "credit": np.array(credit, dtype=np.float32),
    }
    sizes = {"D": arrays["centroids"].shape[1], "M": arrays["credit"].shape[1]}
    return Clusters(Tensors(arrays, "f", sizes), "", {})


CREDIT = [[0.9, 0.1], [0.25, 0.75], [-0.5, 0.5]]


def test_the_nearest_clusters_credit_by_hand() -> None:
    clusters = scorer([[0, 0], [4, 0], [0, 100]], CREDIT)
    queries = np.array([[1.9, 3], [2.1, 3], [0, 49], [0, 51]], dtype=np.float32)
    expected = [CREDIT[index] for index in (0, 1, 0, 2)]
    assert clusters.quality(queries).ravel().tolist() == pytest.approx(np.ravel(expected).tolist())


def test_between_two_clusters_the_first_counts() -> None:
    assert scorer([[0, 0], [4, 0], [9, 9]], CREDIT).quality(np.array([[2, 0]], np.float32))[0, 0] == np.float32(0.9)


@given(seed=st.integers(0, 1000), count=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_it_is_the_least_distance(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centroids, credit, queries = rng.normal(size=(count, 5)), rng.uniform(size=(count, 3)), rng.normal(size=(10, 5))
    nearest = [min(range(count), key=lambda c, q=q: float(np.linalg.norm(q - centroids[c]))) for q in queries]
    np.testing.assert_allclose(scorer(centroids, credit).quality(queries.astype(np.float32)), credit[nearest])


def test_moving_everything_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    centroids, credit, queries = rng.normal(size=(4, 5)), rng.uniform(size=(4, 3)), rng.normal(size=(30, 5))
    here = scorer(centroids, credit).quality(queries.astype(np.float32))
    there = scorer(centroids + 3, credit).quality((queries + 3).astype(np.float32))
    assert (here == there).all()


def test_clusters_and_credit_must_be_as_many() -> None:
    with pytest.raises(BundleError, match=r"^f: credit: shape is \(3, 2\), expected"):
        scorer([[0, 0], [1, 1]], CREDIT)
