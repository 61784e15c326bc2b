from dataclasses import replace

import numpy as np

from router_training.routers.methods.base import FitData
from router_training.routers.tasks import tasks_or_clusters


def logs(structured: bool) -> FitData:
    """One nameless task: two clouds, whose right models differ if `structured`."""
    rng = np.random.default_rng(0)
    cloud = np.arange(200) % 2
    vectors = (rng.normal(scale=0.2, size=(200, 3)) + np.outer(cloud, [3, 3, 3])).astype(np.float32)
    right = cloud if structured else np.zeros(200, dtype=int)
    credit = np.eye(2)[right]
    return FitData(vectors, credit, credit, ("log.jsonl",) * 200)


def test_named_tasks_stay_as_they_are() -> None:
    one = replace(logs(True), tasks=("a", "b") * 100)
    assert tasks_or_clusters(one, np.arange(200) % 5) is one


def test_clusters_stand_in_for_tasks_where_they_help_to_route() -> None:
    found = tasks_or_clusters(logs(True), np.arange(200) % 5)
    assert len(found.task_names) == 2
    assert not found.is_balanced
    assert found.weights.tolist() == [1.0] * 200
    halves = {found.tasks[row] for row in range(0, 200, 2)}, {found.tasks[row] for row in range(1, 200, 2)}
    assert all(len(half) == 1 for half in halves)


def test_no_structure_is_one_cluster() -> None:
    assert len(tasks_or_clusters(logs(False), np.arange(200) % 5).task_names) == 1
