"""The new model's direction of a `cosine_classifier`, the others frozen.

The figure is the log of a share. As a further model takes its share, the others' figures fall, on every query by the
same amount for each of them: their order stands, but their calibration was fitted without the newcomer.
"""

import numpy as np

from router_core.scoring.base import unit_rows
from router_core.scoring.registry import Options
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem
from router_training.routers.adding.directions import fit_direction
from router_training.routers.adding.freedom import bernoulli_of_log_odds, learn_freely
from router_training.routers.methods.base import Floats

AXES = {"weight": 0}


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The row of `weight`."""
    return learn_freely(problem, AXES, fit, bernoulli_of_log_odds)


def fit(problem: RowProblem, freedom: float) -> Row:
    """The direction for a given freedom."""
    unit_P_D = unit_rows(problem.vectors).astype(np.float64)
    temperature = float(problem.tensors["temperature"][0])
    is_other_M = np.arange(len(problem.parents)) != problem.column
    others_M_D = unit_rows(problem.tensors["weight"]).astype(np.float64)[is_other_M]
    rest_P = np.logaddexp.reduce(unit_P_D @ others_M_D.T / temperature, axis=1)

    def log_share(cosine_P: Floats) -> tuple[Floats, Floats]:
        logit_P = cosine_P / temperature
        figure_P = logit_P - np.logaddexp(logit_P, rest_P)
        return figure_P, (1 - np.exp(figure_P)) / temperature

    return {"weight": fit_direction(problem, "weight", unit_P_D, log_share, freedom)}
