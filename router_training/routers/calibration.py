"""The confidence temperature: how sharp the softmax over cosines should be, so that confidences mean something.

With q[n, m] the share of query n's total score that LLM m earned, T minimises over the validation queries

    NLL(T) = - mean over n of sum over m of q[n, m] * log softmax(similarities[n] / T)[m]

so a confidence is the model's share in being right, not the probability that it is. Queries that no LLM answered say
nothing and are left out.
"""

import numpy as np
import numpy.typing as npt

from router_training.evaluate.routed_accuracy import Floats

BOUNDS = (1e-3, 1e2)


def fit_confidence_temperature(similarities_N_M: npt.NDArray[np.floating], credit_N_M: Floats) -> float:
    """The T within BOUNDS with the least NLL; 1.0 if no query was answered by any LLM."""
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    answered = credit_N_M.sum(axis=1) > 0
    if not answered.any():
        return 1.0
    logits = similarities_N_M[answered].astype(np.float64)
    target = credit_N_M[answered] / credit_N_M[answered].sum(axis=1, keepdims=True)

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        log_softmax = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-(target * log_softmax).sum(axis=1).mean())

    found = minimize_scalar(negative_log_likelihood, bounds=tuple(np.log(BOUNDS)), method="bounded")
    return float(np.exp(found.x))
