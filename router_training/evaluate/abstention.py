"""Abstaining: a query goes to the declared default unless another model promises enough more.

    gain[n] = p[n, choice[n]] - p[n, default]          routed where gain[n] >= tau, else answered by the default
    coverage(tau) = share of queries routed
    regret(tau)   = mean over ALL queries of credit[default] - credit[who answered]       (negative: routing helps)

as the gateway does it with `manifest.abstention` (router_core/manifest.py). A query whose choice is the default itself
has gain 0, so it counts as routed at tau = 0 and as abstained above; its regret is 0 either way.
"""

from dataclasses import dataclass

import numpy as np

from router_core.bundle import RouterBundle
from router_training.evaluate.routed_accuracy import Floats, Indices


@dataclass(frozen=True)
class Default:
    """The model that answers where the router abstains: its column, and the gain below which it does."""

    column: int
    threshold: float


@dataclass(frozen=True)
class CoverageAtRegret:
    """Share of queries routed, and what the default would have earned more on the average query."""

    coverage: float
    regret: float


def default_of(bundle: RouterBundle) -> Default | None:
    """The best single model in training (highest base rate) among those with a threshold; None if there are none."""
    if bundle.manifest.abstention is None or not bundle.manifest.abstention.thresholds:
        return None
    thresholds = bundle.manifest.abstention.thresholds
    base_rates_M = bundle.tensors["novelty.base_rates"]
    column = max((bundle.models.index(name) for name in thresholds), key=lambda model: float(base_rates_M[model]))
    return Default(column, thresholds[bundle.models[column]])


def gain_over_default(probability_N_M: Floats, choice_N: Indices, default: int) -> Floats:
    """What each choice promises beyond the default, (N,)."""
    gain: Floats = probability_N_M[np.arange(len(choice_N)), choice_N] - probability_N_M[:, default]
    return gain


def choice_with_abstention(probability_N_M: Floats, choice_N: Indices, default: int, threshold: float) -> Indices:
    """Who answers each query, (N,)."""
    is_routed = gain_over_default(probability_N_M, choice_N, default) >= threshold
    return np.where(is_routed, choice_N, default)


def coverage_at_regret(
    probability_N_M: Floats, choice_N: Indices, credit_N_M: Floats, default: int, threshold: float
) -> CoverageAtRegret:
    """Coverage and realised regret if choices with a gain below `threshold` go to the default."""
    answering_N = choice_with_abstention(probability_N_M, choice_N, default, threshold)
    gain_N = gain_over_default(probability_N_M, choice_N, default)
    lost_N = credit_N_M[:, default] - credit_N_M[np.arange(len(choice_N)), answering_N]
    return CoverageAtRegret(float((gain_N >= threshold).mean()), float(lost_N.mean()))
