"""Trains the `cosine_classifier` scorer: cross entropy towards the models that are right.

Gidaris and Komodakis: "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018 (arXiv 1804.09458). With one
class per model and task-balanced weights w,

    minimise over W:  - sum over n of w[n] * sum over m of target[n, m] * log softmax over m of cos(x[n], W[m]) / t
    target[n, m] = credit[n, m] / sum of credit[n]

Deviations: where several models are right they share the target; queries that no model answers have none and are left
out; t is chosen on held-out queries instead of being learned, since learned it only says how sure to be of training
queries. Fitted by L-BFGS from the mean direction of the queries that each model is right on, less than even shares
counting against it, so nothing is drawn.
"""

import numpy as np
from pydantic import JsonValue

from router_core.scoring.base import unit_rows
from router_training.errors import TrainingError
from router_training.routers.methods.base import FitData, Fitted, Floats, Setting
from router_training.routers.methods.residuals import refuse_residuals
from router_training.routers.one_thread import one_thread

GRID: tuple[Setting, ...] = tuple({"temperature": temperature} for temperature in (1.0, 0.5, 0.25, 0.125))
MOST_ITERATIONS = 200


def fit(data: FitData, *, temperature: float = 1.0) -> Fitted:
    """Fit; `temperature` is t. Raises TrainingError if no model is right on any query, DataError for credits."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    refuse_residuals(data, "cosine_classifier")
    right_N = data.credit.sum(axis=1)
    answered = right_N > 0
    if not answered.any():
        raise TrainingError("cosine_classifier: no model is right on any training query; there is nothing to learn")
    unit_N_D = unit_rows(data.vectors[answered]).astype(np.float64)
    target_N_M = data.credit[answered] / right_N[answered, None]
    weights_N = data.weights[answered] / data.weights[answered].sum()
    start_M_D = (weights_N[:, None] * (target_N_M - 1 / target_N_M.shape[1])).T @ unit_N_D
    start_M_D /= np.maximum(np.linalg.norm(start_M_D, axis=1, keepdims=True), 1e-12)
    start_M_D[~start_M_D.any(axis=1), 0] = 1.0  # where queries cancel out, any direction will do
    with one_thread():
        found = minimize(
            lambda flat: _loss_and_gradient(flat, unit_N_D, target_N_M, weights_N, temperature),
            start_M_D.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_ITERATIONS},
        )
    weight_M_D = found.x.reshape(start_M_D.shape)
    tensors = {
        "weight": unit_rows(weight_M_D.astype(np.float32)),
        "temperature": np.array([temperature], dtype=np.float32),
    }
    settings: dict[str, JsonValue] = {"temperature": temperature}
    return Fitted("cosine_classifier", tensors, settings=settings)


def _loss_and_gradient(
    flat: Floats, unit_N_D: Floats, target_N_M: Floats, weights_N: Floats, temperature: float
) -> tuple[float, Floats]:
    weight_M_D = flat.reshape(target_N_M.shape[1], unit_N_D.shape[1])
    lengths_M_1 = np.linalg.norm(weight_M_D, axis=1, keepdims=True)
    unit_M_D = weight_M_D / lengths_M_1
    logits_N_M = unit_N_D @ unit_M_D.T / temperature
    logits_N_M -= logits_N_M.max(axis=1, keepdims=True)
    log_shares_N_M = logits_N_M - np.log(np.exp(logits_N_M).sum(axis=1, keepdims=True))
    loss = -float(weights_N @ (target_N_M * log_shares_N_M).sum(axis=1))
    pull_M_D = (weights_N[:, None] * (np.exp(log_shares_N_M) - target_N_M)).T @ unit_N_D / temperature
    # Of the gradient with respect to the unit vector only the part across it turns the weight.
    across_M_D = pull_M_D - (pull_M_D * unit_M_D).sum(axis=1, keepdims=True) * unit_M_D
    return loss, (across_M_D / lengths_M_1).ravel()
