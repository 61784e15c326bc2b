"""Fit the novelty score (router_core/scoring/novelty.py) on training vectors.

One centroid per task, one over the spread around the centroids per dimension, and bounds at which novelty begins and is
complete: the distance that 95 in 100 training queries stay below, and three times the way from the median to there
beyond it.
"""

import numpy as np

from router_core.scoring.base import FloatArray
from router_core.scoring.novelty import Novelty
from router_core.tensors import Tensors
from router_training.routers.methods.base import FitData
from router_training.routers.methods.task_prior import task_accuracies

BEGINS_AT_PERCENT = 95.0
_LEAST_SPREAD = 1e-6
_REACH = 3.0


def fit_novelty(data: FitData) -> dict[str, FloatArray]:
    """The tensors, without prefix."""
    index = data.task_index
    centroids_K_D = np.stack([data.vectors[index == task].mean(axis=0) for task in range(len(data.task_names))])
    spread_D = (data.vectors - centroids_K_D[index]).std(axis=0)
    tensors: dict[str, FloatArray] = {
        "centroids": centroids_K_D.astype(np.float32),
        "scale": np.where(spread_D > _LEAST_SPREAD, 1 / np.maximum(spread_D, _LEAST_SPREAD), 0).astype(np.float32),
        "base_rates": task_accuracies(data).mean(axis=0).astype(np.float32),
        "bounds": np.array([0, 1], dtype=np.float32),
    }
    sizes = {"D": data.vectors.shape[1], "M": data.credit.shape[1]}
    distances_N = Novelty(Tensors(tensors, "fitted novelty", sizes), "").distances(data.vectors)
    half, begins = np.percentile(distances_N, [50.0, BEGINS_AT_PERCENT])
    reach = max(_REACH * float(begins - half), 1e-3 * max(float(begins), 1.0))
    tensors["bounds"] = np.array([begins, begins + reach], dtype=np.float32)
    return tensors
