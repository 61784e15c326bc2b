"""Trains the `knn` scorer, which is to keep the training queries: their unit vectors and what each model earned.

Li: "Rethinking Predictive LLM Routing: When Simple KNN Beats Complex Learned Routers" (arXiv 2505.12601). The vote is
taken by router_core/scoring/knn.py. A large k is simple, a small one follows every single query.

Votes are not balanced over the tasks: the nearest queries are nearly always of one task. Credit may be any real number.
"""

import numpy as np
from pydantic import JsonValue

from router_core.scoring.base import unit_rows
from router_training.routers.methods.base import FitData, Fitted, Setting

GRID: tuple[Setting, ...] = tuple({"k": k, "sharpness": sharpness} for sharpness in (0.0, 8.0) for k in (400, 200, 50))


def fit(data: FitData, *, k: int = 400, sharpness: float = 0.0) -> Fitted:
    """Fit; `k` neighbours, or all queries where there are fewer, with votes as exp(`sharpness` * cosine)."""
    tensors = {
        "neighbours": unit_rows(data.vectors.astype(np.float32)),
        "credit": data.credit.astype(np.float32),
        "k": np.array([min(k, len(data))], dtype=np.float32),
        "sharpness": np.array([sharpness], dtype=np.float32),
    }
    settings: dict[str, JsonValue] = {"k": k, "sharpness": sharpness}
    return Fitted("knn", tensors, settings=settings)
