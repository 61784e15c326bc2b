"""Trains the `clusters` scorer: k-means on the vectors, mean credit within each cluster, drawn towards the whole.

Zhang et al.: "The Avengers: A Simple Recipe for Uniting Smaller Language Models to Challenge Proprietary Giants" (arXiv
2505.19797), and an addition of ours, empirical-Bayes shrinkage. Of a cluster c of n[c] queries,

    credit[c, m] = (sum of credit over the queries of c + shrinkage * overall[m]) / (n[c] + shrinkage)

with overall[m] the mean within each task and then over the tasks: a small cluster, whose mean is mostly luck, is told
what is true of all. Shrinkage counts in queries; 0 is the paper's plain mean. Credit may be any real number.

Axis letter C: clusters.
"""

import numpy as np
from pydantic import JsonValue

from router_training.routers.clusters import kmeans_clusters
from router_training.routers.methods.base import FitData, Fitted, Setting

GRID: tuple[Setting, ...] = (
    {"clusters": 6, "shrinkage": 50.0},
    {"clusters": 8, "shrinkage": 20.0},
    {"clusters": 16, "shrinkage": 20.0},
    {"clusters": 24, "shrinkage": 20.0},
    {"clusters": 48, "shrinkage": 50.0},
)


def fit(data: FitData, *, clusters: int = 6, shrinkage: float = 50.0) -> Fitted:
    """Fit; at most `clusters` clusters, drawn to the mean of all as if by `shrinkage` further queries."""
    cluster_N = kmeans_clusters(data.vectors, count=clusters, seed=data.seed)
    counts_C = np.bincount(cluster_N).astype(np.float64)
    member_C_N = (np.arange(len(counts_C))[:, None] == cluster_N).astype(np.float64)
    overall_M = data.weights @ data.credit / len(data)
    tensors = {
        "centroids": (member_C_N @ data.vectors / counts_C[:, None]).astype(np.float32),
        "credit": ((member_C_N @ data.credit + shrinkage * overall_M) / (counts_C[:, None] + shrinkage)).astype(
            np.float32
        ),
    }
    settings: dict[str, JsonValue] = {"clusters": clusters, "shrinkage": shrinkage}
    return Fitted("clusters", tensors, settings=settings)
