"""The new model's embedding of a `routerdc`: k, with the encoder, the head and the other embeddings frozen."""

import numpy as np

from router_core.scoring.base import unit_rows
from router_core.scoring.registry import Options
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem
from router_training.routers.adding.directions import fit_direction
from router_training.routers.adding.freedom import bernoulli_of_log_odds, learn_freely

AXES = {"llm_embeddings": 0}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The row of `llm_embeddings`."""
    return learn_freely(problem, AXES, fit, bernoulli_of_log_odds)


def fit(problem: RowProblem, freedom: float) -> Row:
    """The embedding for a given freedom."""
    query_P_W = problem.vectors
    if "projection.weight" in problem.tensors:
        query_P_W = problem.vectors @ problem.tensors["projection.weight"].T + problem.tensors["projection.bias"]
    unit_P_W = unit_rows(query_P_W).astype(np.float64)
    k_W = fit_direction(problem, "llm_embeddings", unit_P_W, lambda cosine: (cosine, np.ones_like(cosine)), freedom)
    return {"llm_embeddings": k_W}
