"""Quality against cost: what a router earns as cost weighs more and more.

The policy at weight lambda sends query n to the model with the highest p[n, m] - lambda * cost[n, m]. As lambda grows
each query moves along the upper convex hull of its points (cost, p), from the most promising model to the cheapest:
from its present model i to the model j, cheaper than i, at which the break point

    lambda = (p[i] - p[j]) / (cost[i] - cost[j])

is lowest. The curve has one point per distinct break point of all queries, so it is exact, with no grid. Of models that
break at the same lambda the cheapest is taken; of equal p at lambda = 0 the first column, as the gateway does.

    quality   mean of credit of the models that answer          cost   mean of their cost
    area      integral of quality over cost from the cheapest to the dearest model's mean cost, divided by that range:
              the mean quality over all budgets. A policy that cannot spend a budget keeps the quality it has.

Rivals: every single model; the random mix, which draws between single models so that the mean cost fits (the upper
convex hull of their points from the cheapest to the best, flat after it); the oracle, which knows the credits.
`cost` is (M,), the same for every query, or (N, M), in any unit. `weights_N` lets each task count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from router_training.evaluate.routed_accuracy import Floats, Indices


@dataclass(frozen=True)
class CostCurve:
    """P points along a policy: lambda rises, mean cost falls. `quality` is what was earned, not what was promised."""

    weight: Floats
    cost: Floats
    quality: Floats


@dataclass(frozen=True)
class CostQuality:
    """All policies on the same queries. `single_cost`, `single_quality` are (M,); areas are of the curves by name."""

    routed: CostCurve
    oracle: CostCurve
    random_mix: CostCurve
    single_cost: Floats
    single_quality: Floats

    @property
    def areas(self) -> dict[str, float]:
        """Mean quality over all budgets, 0..1, of "routed", "random mix" and "oracle"."""
        bounds = float(self.single_cost.min()), float(self.single_cost.max())
        curves = {"routed": self.routed, "random mix": self.random_mix, "oracle": self.oracle}
        return {name: area_under(curve, *bounds) for name, curve in curves.items()}


def cost_quality(
    probability_N_M: Floats,
    credit_N_M: Floats,
    cost: Floats,
    weights_N: Floats | None = None,
    routable: Sequence[bool] | None = None,
) -> CostQuality:
    """Every policy's curve. Models that are not `routable` (M,) are never chosen, but stand as single models.

    Raises ValueError if no model is routable, or if none costs more than another: then there is nothing to trade.
    """
    cost_N_M = np.broadcast_to(np.asarray(cost, dtype=np.float64), credit_N_M.shape)
    weights_N = np.ones(len(credit_N_M)) if weights_N is None else weights_N
    single_cost_M = np.average(cost_N_M, axis=0, weights=weights_N)
    single_quality_M = np.average(credit_N_M, axis=0, weights=weights_N)
    if single_cost_M.max() <= single_cost_M.min():
        raise ValueError("every model costs the same: there is no trade between cost and quality")
    mask_M = np.ones(credit_N_M.shape[1], dtype=bool) if routable is None else np.asarray(routable, dtype=bool)
    if not mask_M.any():
        raise ValueError("no model may be routed to")
    return CostQuality(
        routed=sweep(np.where(mask_M, probability_N_M, -np.inf), credit_N_M, cost_N_M, weights_N),
        oracle=sweep(np.where(mask_M, credit_N_M, -np.inf), credit_N_M, cost_N_M, weights_N),
        random_mix=random_mix(single_cost_M, single_quality_M),
        single_cost=single_cost_M,
        single_quality=single_quality_M,
    )


def sweep(probability_N_M: Floats, credit_N_M: Floats, cost_N_M: Floats, weights_N: Floats) -> CostCurve:
    """The exact curve of one policy; see the module. A probability of -inf keeps a model from being chosen."""
    rows = np.arange(len(credit_N_M))
    share_N = weights_N / weights_N.sum()
    current_N: Indices = probability_N_M.argmax(axis=1)
    start_cost = float(share_N @ cost_N_M[rows, current_N])
    start_quality = float(share_N @ credit_N_M[rows, current_N])
    weights, costs, qualities = [np.zeros(1)], [np.array([start_cost])], [np.array([start_quality])]
    while True:
        break_N, next_N = _next_break(probability_N_M, cost_N_M, current_N)
        moves = np.flatnonzero(np.isfinite(break_N))
        if not len(moves):
            break
        before, after = current_N[moves], next_N[moves]
        weights.append(break_N[moves])
        costs.append(share_N[moves] * (cost_N_M[moves, after] - cost_N_M[moves, before]))
        qualities.append(share_N[moves] * (credit_N_M[moves, after] - credit_N_M[moves, before]))
        current_N = np.where(np.isfinite(break_N), next_N, current_N)
    weight_P = np.concatenate(weights)
    order = np.argsort(weight_P, kind="stable")
    weight_P = weight_P[order]
    is_last_of_equals = np.append(weight_P[1:] > weight_P[:-1], True)
    # The point before the first move stays, though moves between equals follow at the same lambda 0.
    is_last_of_equals[0] = True
    return CostCurve(
        weight_P[is_last_of_equals],
        np.cumsum(np.concatenate(costs)[order])[is_last_of_equals],
        np.cumsum(np.concatenate(qualities)[order])[is_last_of_equals],
    )


def random_mix(single_cost_M: Floats, single_quality_M: Floats) -> CostCurve:
    """Upper convex hull of the single models from the cheapest to the best; `weight` is the slope that leads there."""
    order = np.lexsort((-single_quality_M, single_cost_M))
    hull = [int(order[0])]
    while True:
        at = hull[-1]
        better = [
            m for m in order if single_cost_M[m] > single_cost_M[at] and single_quality_M[m] > single_quality_M[at]
        ]
        if not better:
            break
        # The steepest way up; of equals the farthest, so that no point lies on a straight line.
        hull.append(max(better, key=lambda m: (_slope(single_cost_M, single_quality_M, at, int(m)), single_cost_M[m])))
    points = np.array(hull[::-1], dtype=np.intp)
    slopes = [_slope(single_cost_M, single_quality_M, low, high) for high, low in pairwise(points.tolist())]
    return CostCurve(np.array([0.0, *slopes]), single_cost_M[points], single_quality_M[points])


def area_under(curve: CostCurve, cheapest: float, dearest: float) -> float:
    """Mean quality over budgets from `cheapest` to `dearest`, which must be higher; between points it is linear."""
    cost_P, quality_P = curve.cost[::-1], curve.quality[::-1]
    inside = (cost_P > cheapest) & (cost_P < dearest)
    ends = np.interp([cheapest, dearest], cost_P, quality_P)
    x = np.concatenate([[cheapest], cost_P[inside], [dearest]])
    y = np.concatenate([ends[:1], quality_P[inside], ends[1:]])
    return float(np.trapezoid(y, x) / (dearest - cheapest))


def _slope(cost_M: Floats, quality_M: Floats, low: int, high: int) -> float:
    return float((quality_M[high] - quality_M[low]) / (cost_M[high] - cost_M[low]))


def _next_break(probability_N_M: Floats, cost_N_M: Floats, current_N: Indices) -> tuple[Floats, Indices]:
    """The lambda (N,) at which each query next moves (infinite: never), and where to."""
    rows = np.arange(len(current_N))
    cheaper_N_M = cost_N_M < cost_N_M[rows, current_N][:, None]
    saved_N_M = np.where(cheaper_N_M, cost_N_M[rows, current_N][:, None] - cost_N_M, 1.0)
    break_N_M = np.where(cheaper_N_M, (probability_N_M[rows, current_N][:, None] - probability_N_M) / saved_N_M, np.inf)
    lowest_N = break_N_M.min(axis=1)
    # Of models that break at once (up to rounding) the cheapest: the hull has no point between them.
    ties_N_M = cheaper_N_M & (break_N_M <= (lowest_N + 1e-12 * np.abs(lowest_N))[:, None])
    return lowest_N, np.where(ties_N_M, cost_N_M, np.inf).argmin(axis=1)
