"""Which task each training query belongs to: its column `task`, else its source file, else a cluster.

Users' own logs are one file without tasks. Then k-means clusters of the query vectors take the place of tasks, as many
as let the task prior route best under cross-validation (1 cluster: no structure is worth knowing).
"""

from dataclasses import replace

import numpy as np

from router_training.routers.methods import task_prior
from router_training.routers.methods.base import FitData, Indices
from router_training.routers.methods.choosing import out_of_fold, routed_credit

CLUSTER_COUNTS = (1, 2, 4, 8, 16, 32)
FEWEST_QUERIES_PER_CLUSTER = 20


def tasks_or_clusters(data: FitData, folds_N: Indices) -> FitData:
    """The data as it is if it names two tasks or more; else with clusters for tasks, unbalanced."""
    if len(data.task_names) > 1:
        return data
    best: tuple[float, FitData] | None = None
    for count in CLUSTER_COUNTS:
        if count > 1 and count * FEWEST_QUERIES_PER_CLUSTER > len(data):
            break
        clustered = replace(data, tasks=_clusters(data, count), is_balanced=False)
        accuracy = float(routed_credit(out_of_fold(task_prior.fit, clustered, folds_N), data.credit).mean())
        if best is None or accuracy > best[0] + 1e-9:
            best = (accuracy, clustered)
    return best[1] if best is not None else data


def _clusters(data: FitData, count: int) -> tuple[str, ...]:
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]

    if count == 1:
        return ("cluster 0",) * len(data)
    labels = KMeans(n_clusters=count, n_init=4, random_state=data.seed).fit_predict(data.vectors)
    return tuple(f"cluster {label}" for label in np.asarray(labels).tolist())
