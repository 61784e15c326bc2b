import numpy as np
import pytest

from router_training.errors import DataError
from router_training.routers.clusters import kmeans_clusters, table_clusters, task_clusters


def test_kmeans_finds_what_lies_apart_and_repeats() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10, 0], [0, 10], [-10, -10]])
    points = (np.repeat(centres, 20, axis=0) + rng.normal(size=(60, 2))).astype(np.float32)
    clusters = kmeans_clusters(points, count=3, seed=0)
    assert [len(set(clusters[start : start + 20])) for start in (0, 20, 40)] == [1, 1, 1]
    assert len(set(clusters)) == 3
    assert clusters.tolist() == kmeans_clusters(points, count=3, seed=0).tolist()


def test_kmeans_makes_no_more_clusters_than_there_are_points() -> None:
    points = np.array([[0, 1], [0, 1], [1, 0]], dtype=np.float32)
    assert len(set(kmeans_clusters(points, count=5, seed=0))) == 2


def test_the_tables_own_clusters() -> None:
    assert table_clusters([3, 0, 3]).tolist() == [3, 0, 3]
    with pytest.raises(DataError, match="2 of 3 rows have no cluster_id; use kmeans"):
        table_clusters([3, None, None])


def test_one_cluster_per_task() -> None:
    assert task_clusters(["sums", "codes", "sums"]).tolist() == [1, 0, 1]
