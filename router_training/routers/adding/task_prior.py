"""The new model's accuracies of a `task_prior`: counted on the probes of each task, drawn to the warm start.

    accuracy[t] = (sum over i of share[i, t] credit[i] + s[t] start[t] / F) / (sum over i of share[i, t] + s[t] / F)

is the posterior mean under a Beta prior of mean start[t] that counts as s[t] / F probes, F being the freedom. The
pool's own rows give s[t]: a Beta variable of mean m has variance m (1 - m) / (s + 1), and their scatter is that
variance. A probe that names a task which the router was trained on belongs to that alone; of any other the frozen
classifier says what it is about, share[i, t] = p(t | x[i]).

Axis letters: T tasks.
"""

import numpy as np

from router_core.scoring.base import FloatArray
from router_core.scoring.registry import Options
from router_core.scoring.task_prior import TaskPrior
from router_core.tensors import Tensors
from router_training.routers.adding.base import Axes, LearnedRow, Row, RowProblem, mean_row
from router_training.routers.adding.freedom import bernoulli, learn_freely
from router_training.routers.adding.pool import scatter
from router_training.routers.methods.base import Floats

AXES = {"accuracy": 1}
FEWEST_PSEUDO_PROBES, MOST_PSEUDO_PROBES = 1.0, 512.0
_EDGE = 1e-3


def axes(options: Options) -> Axes:
    """Where the models are."""
    return AXES


def learn(problem: RowProblem) -> LearnedRow:
    """The column of `accuracy`."""
    return learn_freely(problem, AXES, fit, bernoulli)


def fit(problem: RowProblem, freedom: float) -> Row:
    """The column for a given freedom."""
    sizes = {"D": problem.vectors.shape[1], "M": len(problem.parents)}
    prior = TaskPrior(Tensors(problem.tensors, "task_prior", sizes), "", {})
    shares_P_T = prior.tasks(problem.vectors).astype(np.float64)
    if len(problem.known_tasks) == shares_P_T.shape[1]:
        named_P_T = np.array([[task == known for known in problem.known_tasks] for task in problem.tasks], dtype=float)
        shares_P_T = np.where(named_P_T.any(axis=1, keepdims=True), named_P_T, shares_P_T)
    return {"accuracy": posterior_mean(problem, "accuracy", shares_P_T, freedom)}


def posterior_mean(problem: RowProblem, name: str, shares_P_T: Floats, freedom: float) -> FloatArray:
    """The column (T,) of the tensor `name` (T, M), if probe i belongs to t by `shares_P_T[i, t]`."""
    start_T = mean_row(problem.tensors, {name: 1}, problem.parents)[name].astype(np.float64)
    pseudo_T = pseudo_probes(problem.models_first(name, 1)) / freedom
    counted_T = shares_P_T.T @ problem.credit + pseudo_T * start_T
    column_T: FloatArray = (counted_T / (shares_P_T.sum(axis=0) + pseudo_T)).astype(np.float32)
    return column_T


def pseudo_probes(accuracy_M_T: Floats) -> Floats:
    """s (T,): by how many probes the pool's agreement on each task counts."""
    mean_T = np.clip(accuracy_M_T.mean(axis=0), _EDGE, 1 - _EDGE)
    share_T = scatter(accuracy_M_T / np.sqrt(mean_T * (1 - mean_T)))
    pseudo_T: Floats = np.clip(1 / share_T - 1, FEWEST_PSEUDO_PROBES, MOST_PSEUDO_PROBES)
    return pseudo_T
