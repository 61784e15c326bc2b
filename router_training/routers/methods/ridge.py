"""Trains the `ridge` scorer: task-balanced ridge regression of credit, in closed form.

Hoerl and Kennard: "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics 1970. Over the
standardised vectors z, with task-balanced weights w that sum to N,

    minimise over W, b:  sum over n of w[n] * |credit[n] - W z[n] - b|^2  +  alpha * |W|^2
    W = (Z' diag(w) Z + alpha I)^-1 Z' diag(w) (credit - b),     b = weighted mean of credit

since the weighted mean of z is 0. Fitted on credit ("is it right"), not on the table's scores: where those are
probabilities of an answer they tell how sharp a model is, not how often right.

Credit may be any real number, so what another scorer leaves unexplained can be regressed as well.
"""

import numpy as np
from pydantic import JsonValue

from router_training.routers.methods.base import FitData, Fitted, Floats, Setting
from router_training.routers.methods.standardising import Standardising
from router_training.routers.one_thread import one_thread

GRID: tuple[Setting, ...] = tuple({"alpha": alpha} for alpha in (10000.0, 3000.0, 1000.0, 300.0, 100.0))


def fit(data: FitData, *, alpha: float = 10000.0) -> Fitted:
    """Fit; `alpha` is the penalty, against the N weighted queries."""
    standardising = Standardising.of(data)
    z_N_D = standardising.apply(data.vectors)
    weighted_D_N = (z_N_D * data.weights[:, None]).T
    bias_M: Floats = data.weights @ data.credit / len(data)
    with one_thread():
        gram_D_D = weighted_D_N @ z_N_D
        weight_D_M = np.linalg.solve(gram_D_D + alpha * np.eye(len(gram_D_D)), weighted_D_N @ (data.credit - bias_M))
    weight, bias = standardising.fold(weight_D_M.T, bias_M)
    settings: dict[str, JsonValue] = {"alpha": alpha}
    return Fitted("ridge", {"weight": weight, "bias": bias}, settings=settings)
