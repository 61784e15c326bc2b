import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray
from router_core.scoring.knn import KNN, QUERIES_AT_ONCE
from router_core.tensors import Tensors

NEIGHBOURS = [[1, 0], [0.8, 0.6], [0, 1], [-1, 0]]
CREDIT = [[1, 0], [1, 1], [0, 1], [0, 0]]


def scorer(neighbours: object, credit: object, k: float, sharpness: float = 0.0) -> KNN:
    named = {"neighbours": neighbours, "credit": credit, "k": [k], "sharpness": [sharpness]}
    arrays = {name: np.array(value, dtype=np.float32) for name, value in named.items()}
    sizes = {"D": arrays["neighbours"].shape[1], "M": arrays["credit"].shape[1]}
    return KNN(Tensors(arrays, "f", sizes), "", {})


def vectors(*rows: list[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize(("k", "expected"), [(1, [1, 0]), (2, [1, 0.5]), (3, [2 / 3, 2 / 3]), (4, [0.5, 0.5])])
def test_a_plain_vote_by_hand(k: int, expected: list[float]) -> None:
    # Cosines with (1, 0): 1, 0.8, 0, -1.
    assert scorer(NEIGHBOURS, CREDIT, k).quality(vectors([7, 0]))[0].tolist() == pytest.approx(expected)


def test_a_weighted_vote_by_hand() -> None:
    nearer, further = 1.0, np.exp(5 * (0.8 - 1.0))
    quality = scorer(NEIGHBOURS, CREDIT, 2, sharpness=5).quality(vectors([7, 0]))
    assert quality[0].tolist() == pytest.approx([1.0, further / (nearer + further)], rel=1e-5)


@given(seed=st.integers(0, 1000), k=st.integers(1, 30), sharpness=st.sampled_from([0.0, 3.0]))
@settings(max_examples=40, deadline=None)
def test_scikit_learns_neighbours_vote_the_same(seed: int, k: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    neighbours, credit, queries = rng.normal(size=(30, 6)), rng.uniform(size=(30, 4)), rng.normal(size=(5, 6))
    distances, nearest = NearestNeighbors(n_neighbors=k, metric="cosine").fit(neighbours).kneighbors(queries)
    weights = np.exp(-sharpness * distances)
    expected = [np.average(credit[rows], axis=0, weights=weight) for rows, weight in zip(nearest, weights, strict=True)]
    quality = scorer(neighbours, credit, k, sharpness).quality(queries.astype(np.float32))
    np.testing.assert_allclose(quality, expected, atol=2e-5)


def test_neither_the_order_of_the_neighbours_nor_any_length_matters() -> None:
    rng = np.random.default_rng(1)
    neighbours, credit, queries = rng.normal(size=(40, 5)), rng.uniform(size=(40, 3)), rng.normal(size=(8, 5))
    order = rng.permutation(40)
    plain = scorer(neighbours, credit, 7, 2.0).quality(queries.astype(np.float32))
    lengths = rng.uniform(0.1, 9, size=(40, 1))
    mixed = scorer((neighbours * lengths)[order], credit[order], 7, 2.0).quality((3 * queries).astype(np.float32))
    np.testing.assert_allclose(mixed, plain, atol=1e-5)


def test_all_neighbours_give_the_mean_of_all() -> None:
    rng = np.random.default_rng(2)
    credit = rng.uniform(size=(20, 3))
    quality = scorer(rng.normal(size=(20, 4)), credit, 20).quality(rng.normal(size=(6, 4)).astype(np.float32))
    np.testing.assert_allclose(quality, np.tile(credit.mean(axis=0), (6, 1)), rtol=1e-5)


def test_a_large_batch_is_scored_as_its_queries_alone() -> None:
    rng = np.random.default_rng(3)
    knn = scorer(rng.normal(size=(20, 4)), rng.uniform(size=(20, 3)), 5)
    queries = rng.normal(size=(2 * QUERIES_AT_ONCE + 1, 4)).astype(np.float32)
    quality = knn.quality(queries)
    for row in (0, QUERIES_AT_ONCE, 2 * QUERIES_AT_ONCE):
        np.testing.assert_allclose(quality[row], knn.quality(queries[row : row + 1])[0], rtol=1e-5)
    assert knn.quality(queries[:0]).shape == (0, 3)


def test_residuals_may_be_negative() -> None:
    assert scorer([[1, 0]], [[-0.25, 0.5]], 1).quality(vectors([1, 1])).tolist() == [[-0.25, 0.5]]


@pytest.mark.parametrize(
    ("k", "sharpness", "message"),
    [
        (0, 0, "^f: k: 0 is no count of 1..4 neighbours$"),
        (5, 0, "^f: k: 5 is no count of 1..4 neighbours$"),
        (1.5, 0, "^f: k: 1.5 is no count of 1..4 neighbours$"),
        (2, -1, "^f: sharpness: -1 must be 0 or more$"),
    ],
)
def test_a_vote_that_cannot_be_taken_is_refused(k: float, sharpness: float, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        scorer(NEIGHBOURS, CREDIT, k, sharpness)


def test_neighbours_and_credit_must_be_as_many() -> None:
    with pytest.raises(BundleError, match=r"^f: credit: shape is \(3, 2\), expected"):
        scorer(NEIGHBOURS, CREDIT[:3], 1)
