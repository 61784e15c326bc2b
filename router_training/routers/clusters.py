"""Which queries belong together: the clusters of RouterDC's sample-sample loss, and of the `clusters` method.

kmeans   k-means on the frozen encoder's vectors (scikit-learn), as in the paper but without its t-SNE step
table    the cluster_id that the training table carries (RouterDC's own data does)
task     the query's task: the released code's alternative form of the loss
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from router_core.scoring.base import FloatArray
from router_training.errors import DataError
from router_training.routers.one_thread import one_thread

ClusterSource = Literal["kmeans", "table", "task"]
IntArray = npt.NDArray[np.int64]


def kmeans_clusters(embeddings_N_D: FloatArray, *, count: int, seed: int) -> IntArray:
    """k-means cluster of each row; fewer clusters where there are fewer distinct rows."""
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]

    distinct = len(np.unique(embeddings_N_D, axis=0))
    model = KMeans(n_clusters=min(count, distinct), n_init=4, random_state=seed)
    with one_thread():
        return np.asarray(model.fit_predict(embeddings_N_D), dtype=np.int64)


def table_clusters(cluster_ids: Sequence[int | None]) -> IntArray:
    """The table's own clusters. Raises DataError if a row has none."""
    missing = sum(cluster is None for cluster in cluster_ids)
    if missing:
        raise DataError(
            f"cluster_source: table, but {missing} of {len(cluster_ids)} rows have no cluster_id; use kmeans"
        )
    return np.array(cluster_ids, dtype=np.int64)


def task_clusters(tasks: Sequence[str]) -> IntArray:
    """One cluster per task."""
    names = sorted(set(tasks))
    return np.array([names.index(task) for task in tasks], dtype=np.int64)
