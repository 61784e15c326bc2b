"""Quality at every budget: what the cost dial (lambda) buys, beside a random mix of models and an oracle.

The curves are those of router_training/evaluate/cost_curve.py; a budget is a mean price per query. Intervals are 95%
percentile bootstraps over queries, every curve drawn anew on each resample.

Axis suffixes: N queries, M models, R resamples.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.paired import Difference, paragraph, table
from router_training.evaluate.cost_curve import CostCurve, CostQuality, cost_quality
from router_training.evaluate.routed_accuracy import Floats

RESAMPLES = 500
BUDGETS = 6


def cost_dial(
    models: Sequence[str], probability_N_M: Floats, credit_N_M: Floats, prices: Mapping[str, float], origin: str
) -> str:
    """Markdown. `origin` says where the prices come from; models without one cost 1."""
    cost_M = np.array([prices.get(model, 1.0) for model in models])
    found = cost_quality(probability_N_M, credit_N_M, cost_M)
    budgets = np.linspace(found.single_cost.min(), found.single_cost.max(), BUDGETS)
    curves = {"routed": found.routed, "random mix": found.random_mix, "oracle": found.oracle}
    lines = [[f"{budget:.2f}", *(f"{100 * _at(curve, budget):.1f}" for curve in curves.values())] for budget in budgets]
    lines.append(["mean over all budgets", *(f"{100 * found.areas[name]:.1f}" for name in curves)])
    gain = _gain(found, probability_N_M, credit_N_M, cost_M)
    declared = ", ".join(f"`{model}` {price:g}" for model, price in zip(models, cost_M, strict=True))
    text = paragraph(f"""
        {origin} {declared}. Mean over all budgets, the router {gain.verdict} the random mix of single models, which
        knows how good each is on these very queries ({gain} points, paired).""")
    return f"{table(['mean price per query, at most', *curves], lines)}\n\n{text}"


def _at(curve: CostCurve, budget: float) -> float:
    return float(np.interp(budget, curve.cost[::-1], curve.quality[::-1]))


def _gain(found: CostQuality, probability_N_M: Floats, credit_N_M: Floats, cost_M: Floats) -> Difference:
    """Area under the router's curve minus that of the random mix."""
    rng = np.random.default_rng(0)
    gains_R = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(credit_N_M), len(credit_N_M))
        areas = cost_quality(probability_N_M[rows], credit_N_M[rows], cost_M).areas
        gains_R.append(areas["routed"] - areas["random mix"])
    low, high = np.percentile(gains_R, [2.5, 97.5])
    return Difference(100 * (found.areas["routed"] - found.areas["random mix"]), 100 * float(low), 100 * float(high))
