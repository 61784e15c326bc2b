import numpy as np
import pytest

from router_training.routers.clusters import kmeans_clusters
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.clusters import fit

RNG = np.random.default_rng(0)
NEAR, FAR = np.array([[10.0, 0.0]], np.float32), np.array([[-10.0, 0.0]], np.float32)
# Four queries of task a near (10, 0), of which model 0 gets three; one of task b near (-10, 0), which model 1 gets.
TINY = FitData(
    np.array([[10, 0.5], [10, -0.5], [10.5, 0], [9.5, 0], [-10, 0]], np.float32),
    np.array([[1, 0], [1, 0], [1, 0], [0, 0], [0, 1.0]]),
    np.zeros((5, 2)),
    ("a", "a", "a", "a", "b"),
)


def test_credit_is_drawn_towards_the_mean_over_the_tasks_by_hand() -> None:
    overall = [(0.75 + 0) / 2, (0 + 1) / 2]
    fitted = fit(TINY, clusters=2, shrinkage=4.0)
    near = [(3 + 4 * overall[0]) / 8, (0 + 4 * overall[1]) / 8]
    far = [(0 + 4 * overall[0]) / 5, (1 + 4 * overall[1]) / 5]
    assert quality_of(fitted, np.vstack([NEAR, FAR]), 2).ravel().tolist() == pytest.approx([*near, *far])


def test_without_shrinkage_it_is_the_papers_mean() -> None:
    fitted = fit(TINY, clusters=2, shrinkage=0.0)
    assert quality_of(fitted, np.vstack([NEAR, FAR]), 2).ravel().tolist() == pytest.approx([0.75, 0, 0, 1])


@pytest.mark.parametrize("shrinkage", [0.0, 30.0])
def test_it_is_the_mean_within_each_k_means_cluster_written_as_loops(shrinkage: float) -> None:
    vectors, credit = RNG.normal(size=(200, 5)).astype(np.float32), RNG.normal(size=(200, 3))
    data = FitData(vectors, credit, np.zeros_like(credit), ("a", "b") * 100, seed=3)
    labels = kmeans_clusters(vectors, count=7, seed=3)
    fitted = fit(data, clusters=7, shrinkage=shrinkage)
    expected = []
    for cluster in range(7):
        rows = [row for row in range(200) if labels[row] == cluster]
        for model in range(3):
            total = sum(credit[row, model] for row in rows) + shrinkage * credit[:, model].mean()
            expected.append(total / (len(rows) + shrinkage))
        centroid = np.mean([vectors[row] for row in rows], axis=0)
        np.testing.assert_allclose(fitted.tensors["centroids"][cluster], centroid, atol=1e-5)
    assert fitted.tensors["credit"].ravel().tolist() == pytest.approx(expected, abs=1e-5)


def test_more_clusters_than_different_queries_are_no_error() -> None:
    fitted = fit(TINY, clusters=50, shrinkage=0.0)
    assert len(fitted.tensors["centroids"]) == 5
    np.testing.assert_allclose(quality_of(fitted, TINY.vectors, 2), TINY.credit)


def test_much_shrinkage_leaves_the_mean_over_the_tasks() -> None:
    quality = quality_of(fit(TINY, clusters=2, shrinkage=1e9), TINY.vectors, 2)
    np.testing.assert_allclose(quality, np.tile([0.375, 0.5], (5, 1)), atol=1e-5)
