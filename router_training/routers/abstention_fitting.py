"""Fit when to abstain: how much better than the declared default the best model must look before it is worth a switch.

For a default model d, the gain of a query is p[best] - p[d]. Routing only where the gain is at least tau earns, against
always answering with d, a regret of

    regret(tau) = mean over ALL queries of 1[gain >= tau] * (credit[d] - credit[best])

which is negative where routing helps. tau is lowered step by step from the highest gain as long as an upper confidence
bound of the regret stays within `max_regret`; the last tau that passed is the threshold. As every step is tested only
after the one before it passed, the bound holds for the threshold that comes out, with probability 1 - LEVEL over the
draw of the calibration queries: fixed-sequence testing, as in Angelopoulos et al., "Learn then Test: Calibrating
Predictive Algorithms to Achieve Risk Control" (arXiv 2110.01052). The bound is the normal one (mean + z * standard
error), which needs some hundred queries. Queries are taken as they are, not balanced over tasks: it is a promise about
traffic like the training table.
"""

import numpy as np

from router_core.manifest import AbstentionSpec
from router_training.routers.methods.base import Floats

LEVEL = 0.05
STEPS = 200
FEWEST_QUERIES = 100
_Z = 1.6448536269514722  # one-sided 95% quantile of the normal distribution


def fit_abstention(
    probability_N_M: Floats, credit_N_M: Floats, models: tuple[str, ...], *, max_regret: float
) -> AbstentionSpec | None:
    """Thresholds for every possible default, from out-of-fold probabilities; None for fewer than FEWEST_QUERIES."""
    if len(credit_N_M) < FEWEST_QUERIES:
        return None
    thresholds, coverage = {}, {}
    for column, name in enumerate(models):
        gain_N, regret_N = gains_and_regrets(probability_N_M, credit_N_M, column)
        tau = _threshold(gain_N, regret_N, max_regret)
        thresholds[name] = round(tau, 6)
        coverage[name] = round(float((gain_N >= tau).mean()), 6)
    return AbstentionSpec(max_regret=max_regret, thresholds=thresholds, coverage=coverage)


def gains_and_regrets(probability_N_M: Floats, credit_N_M: Floats, default: int) -> tuple[Floats, Floats]:
    """Gain over the default that each query promises, and what the default would have earned more, both (N,)."""
    rows = np.arange(len(credit_N_M))
    best_N = probability_N_M.argmax(axis=1)
    gain_N: Floats = probability_N_M[rows, best_N] - probability_N_M[:, default]
    regret_N: Floats = credit_N_M[:, default] - credit_N_M[rows, best_N]
    return gain_N, regret_N


def _threshold(gain_N: Floats, regret_N: Floats, max_regret: float) -> float:
    """The lowest tau that passed; 1 (never route away) if none did."""
    passed = 1.0
    for tau in np.linspace(float(gain_N.max()), 0.0, STEPS):
        counted_N = regret_N * (gain_N >= tau)
        bound = counted_N.mean() + _Z * counted_N.std() / np.sqrt(len(counted_N))
        if bound > max_regret:
            break
        passed = float(np.clip(tau, 0, 1))
    return passed
