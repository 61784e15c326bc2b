"""How far stated probabilities are from what happened: Brier score, expected calibration error, reliability bins.

Of pairs (p, c), a stated probability and an outcome in 0..1 (a credit: 0 or 1, or the share of right samples):

    brier   mean of (p - c)^2
    ECE     sum over bins b of share[b] * |mean of p in b - mean of c in b|

with B equal-width bins over 0..1, the last of which holds 1 itself. Brier: Brier, "Verification of Forecasts Expressed
in Terms of Probability", 1950; ECE: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
Binning", AAAI 2015. Both are 0 at best. A share of samples as outcome keeps both meaningful: p is then compared with a
rate. Few pairs inflate ECE, so read it beside their number.

`weights` (any sum above zero) let each file or task count alike; without them every pair does.
"""

from dataclasses import dataclass

import numpy as np

from router_training.evaluate.routed_accuracy import Floats

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """The pairs in B bins over 0..1: share of all pairs, mean stated probability and mean outcome, each (B,).

    The means of an empty bin are NaN.
    """

    share: Floats
    stated: Floats
    happened: Floats


def reliability(
    probability: Floats, outcome: Floats, weights: Floats | None = None, *, bins: int = BINS
) -> Reliability:
    """Sort pairs into equal-width bins; all arguments have one shape, whatever it is."""
    p, c, w = (
        np.asarray(part, dtype=np.float64).ravel() for part in (probability, outcome, _weights(outcome, weights))
    )
    place = np.minimum((p * bins).astype(np.intp), bins - 1)
    total_B, p_B, c_B = (np.bincount(place, weights=part, minlength=bins) for part in (w, w * p, w * c))
    with np.errstate(invalid="ignore"):
        return Reliability(total_B / total_B.sum(), p_B / total_B, c_B / total_B)


def expected_calibration_error(
    probability: Floats, outcome: Floats, weights: Floats | None = None, *, bins: int = BINS
) -> float:
    """ECE of pairs; see the module."""
    binned = reliability(probability, outcome, weights, bins=bins)
    return float(np.nansum(binned.share * np.abs(binned.stated - binned.happened)))


def brier(probability: Floats, outcome: Floats, weights: Floats | None = None) -> float:
    """Brier score of pairs; see the module."""
    return float(np.average((probability - outcome) ** 2, weights=_weights(outcome, weights)))


def _weights(outcome: Floats, weights: Floats | None) -> Floats:
    """Weights in the shape of the outcomes; one weight per query spreads over its models."""
    if weights is None:
        return np.ones_like(outcome, dtype=np.float64)
    spread: Floats = np.broadcast_to(
        weights.reshape(weights.shape + (1,) * (outcome.ndim - weights.ndim)), outcome.shape
    )
    return spread
