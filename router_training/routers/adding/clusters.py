"""The new model's credit of `clusters`: counted on the probes of each cluster, drawn to the warm start.

As a task's in task_prior.py, but every probe belongs to its nearest cluster alone.
"""

import numpy as np

from router_core.scoring.clusters import Clusters
from router_core.scoring.registry import Options
from router_core.tensors import Tensors
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem
from router_training.routers.adding.freedom import bernoulli, learn_freely
from router_training.routers.adding.task_prior import posterior_mean

AXES = {"credit": 1}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The column of `credit`."""
    return learn_freely(problem, AXES, fit, bernoulli)


def fit(problem: RowProblem, freedom: float) -> Row:
    """The column for a given freedom."""
    count = len(problem.tensors["centroids"])
    # With the identity for credit, the scorer's figures say which cluster a query belongs to.
    whose = {"centroids": problem.tensors["centroids"], "credit": np.eye(count, dtype=np.float32)}
    scorer = Clusters(Tensors(whose, "clusters", {"D": problem.vectors.shape[1], "M": count}), "", {})
    shares_P_C = scorer.quality(problem.vectors).astype(np.float64)
    return {"credit": posterior_mean(problem, "credit", shares_P_C, freedom)}
