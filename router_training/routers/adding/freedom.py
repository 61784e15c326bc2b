"""How far a model's row may leave its warm start: empirical Bayes from the pool, corrected by the probes.

The models already in the router say how much models differ (pool.py), and a newcomer's row is drawn to its warm start
as if it were one more of them: a pool of look-alikes holds it close, and lets go of it where its models differ.

But a newcomer may be unlike the pool. So that variance is multiplied by a `freedom` F, the one of FREEDOMS that has the
largest

    sum over probes i of log P(credit[i] | fitted without the fold of i, F)  -  (ln F)^2 / 2

whose second term is the prior that the newcomer differs about as much as the pool does, give or take a factor e.
"""

from collections.abc import Callable

import numpy as np

from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem
from router_training.routers.adding.linear import noise_of
from router_training.routers.adding.logistic import sigmoid
from router_training.routers.methods.base import Floats

FREEDOMS: tuple[float, ...] = tuple(sorted((2.0**power for power in range(-4, 9)), key=lambda f: abs(float(np.log(f)))))
"""Nearest to 1 first, which is what ties fall to."""

Fit = Callable[[RowProblem, float], Row]
LogLikelihood = Callable[[RowProblem, Floats], float]
_EDGE = 1e-3


def learn_freely(problem: RowProblem, axes: Axes, fit: Fit, log_likelihood: LogLikelihood) -> LearnedRow:
    """Choose F by cross-validation and fit on all probes."""
    tried = []
    for freedom in FREEDOMS:
        held_out = np.empty(len(problem.credit))
        total = -0.5 * float(np.log(freedom)) ** 2
        for fold in np.unique(problem.folds):
            is_out = problem.folds == fold
            row = fit(problem.rows(np.flatnonzero(~is_out)), freedom)
            unseen = problem.rows(np.flatnonzero(is_out))
            held_out[is_out] = unseen.figures(row, axes)
            total += log_likelihood(unseen, held_out[is_out])
        tried.append((total, freedom, held_out))
    _, freedom, held_out = max(tried, key=lambda one: one[0])
    return LearnedRow(fit(problem, freedom), held_out, {"freedom": freedom})


def bernoulli(problem: RowProblem, figures_P: Floats) -> float:
    """Log likelihood if the figures are probabilities; a credit between 0 and 1 counts by its share."""
    said_P = np.clip(figures_P, _EDGE, 1 - _EDGE)
    return float((problem.credit * np.log(said_P) + (1 - problem.credit) * np.log(1 - said_P)).sum())


def bernoulli_of_log_odds(problem: RowProblem, figures_P: Floats) -> float:
    """Log likelihood if `log_odds` makes the figures log odds."""
    slope, bias = problem.log_odds
    return bernoulli(problem, sigmoid(slope * figures_P + bias))


def gaussian_around(left_P: Floats) -> LogLikelihood:
    """Log likelihood, but for a constant, if credit is the figure and noise as large as what the start leaves."""
    noise = noise_of(left_P)
    return lambda problem, figures_P: float(-((problem.credit - figures_P) ** 2).sum() / (2 * noise))
