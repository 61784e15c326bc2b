"""Train the `task_prior` scorer (router_core/scoring/task_prior.py): recognise the task, know who is good at it.

The classifier is a multinomial logistic regression in which every task weighs the same; it minimises the mean loss of a
query plus `penalty` / 2 times the squared weights. A large penalty keeps the posterior soft, which is what keeps a
query of an unseen task from being taken for one of a known task. The accuracies are shrunk towards the mean over the
tasks by SHRINKAGE pseudo-queries.
"""

import warnings

import numpy as np

from router_training.routers.methods.base import FitData, Fitted, Floats, Setting

SHRINKAGE = 4.0
GRID: tuple[Setting, ...] = (
    {"penalty": 3e-4},
    {"penalty": 1e-4},
    {"penalty": 3e-5},
    {"penalty": 1e-5},
)


def fit(data: FitData, *, penalty: float = 1e-4) -> Fitted:
    """Fit both parts."""
    weight_T_D, bias_T = _classifier(data, penalty)
    tensors = {
        "weight": weight_T_D.astype(np.float32),
        "bias": bias_T.astype(np.float32),
        "accuracy": task_accuracies(data).astype(np.float32),
    }
    return Fitted("task_prior", tensors, settings={"penalty": penalty, "tasks": list(data.task_names)})


def task_accuracies(data: FitData) -> Floats:
    """Mean credit of each model on each task (T, M), shrunk towards the mean over the tasks."""
    index = data.task_index
    count_T = np.bincount(index)
    sums_T_M = np.zeros((len(count_T), data.credit.shape[1]))
    np.add.at(sums_T_M, index, data.credit)
    overall_M = (sums_T_M / count_T[:, None]).mean(axis=0)
    shrunk: Floats = (sums_T_M + SHRINKAGE * overall_M) / (count_T[:, None] + SHRINKAGE)
    return shrunk


def _classifier(data: FitData, penalty: float) -> tuple[Floats, Floats]:
    """Weight (T, D) and bias (T,) of the softmax."""
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    tasks = len(data.task_names)
    if tasks == 1:
        return np.zeros((1, data.vectors.shape[1])), np.zeros(1)
    model = LogisticRegression(C=1 / (penalty * len(data)), max_iter=400)
    with warnings.catch_warnings():
        # Near the optimum is enough: what is judged is the routing, out of fold.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data.vectors, data.task_index, sample_weight=data.weights)
    if tasks == 2:  # scikit-learn then gives the one logit between the two classes
        return np.vstack([0 * model.coef_, model.coef_]), np.array([0.0, model.intercept_[0]])
    return model.coef_, model.intercept_
