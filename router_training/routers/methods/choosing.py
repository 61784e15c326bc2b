"""Cross-validation on the training rows: folds, out-of-fold figures, and the setting of a method that does best.

Folds are drawn per task, and all rows of one question, or of one group where the table names groups, land in the same
fold, so no duplicate helps a fit to its own test. A setting is judged by two routed accuracies: on held-out queries of
known tasks, and on tasks that were left out of the fit altogether, because traffic brings both; `unseen_share` says how
much of each. Nothing here ever sees test data.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from router_core.bundle import question_hash
from router_training.errors import DataError
from router_training.routers.methods.base import FitData, Fitted, Floats, Indices, Setting, mean_by_task, quality_of
from router_training.routers.methods.registry import Method

FitRows = Callable[[FitData], Fitted]
FEWEST_TASKS = 3
TASK_GROUPS = 5
TOLERANCE = 5e-4


def draw_folds(
    questions: Sequence[str], tasks: Sequence[str], *, folds: int, seed: int, groups: Sequence[str | None] = ()
) -> Indices:
    """The fold (N,) of each row, 0..folds-1. Raises DataError if there are fewer questions or groups than folds."""
    rng = np.random.default_rng(seed)
    fold_of: dict[int, int] = {}
    named = groups or [None] * len(questions)
    hashes = [
        question_hash(question) if group is None else question_hash(f"group {group}")
        for question, group in zip(questions, named, strict=True)
    ]
    for task in sorted(set(tasks)):
        fresh = sorted({key for key, name in zip(hashes, tasks, strict=True) if name == task} - fold_of.keys())
        for place, index in enumerate(rng.permutation(len(fresh))):
            fold_of[fresh[index]] = (place + len(fold_of)) % folds if len(fresh) < folds else place % folds
    result = np.array([fold_of[key] for key in hashes], dtype=np.intp)
    if len(set(result.tolist())) < folds:
        raise DataError(
            f"{len(fold_of)} different questions or groups are too few for {folds} folds of cross-validation"
        )
    return result


def out_of_fold(fit: FitRows, data: FitData, folds_N: Indices) -> Floats:
    """Figures (N, M) of every row by a fit that never saw its fold."""
    result = np.empty(data.credit.shape, dtype=np.float64)
    for fold in np.unique(folds_N):
        held_out = folds_N == fold
        fitted = fit(data.rows(np.flatnonzero(~held_out)))
        result[held_out] = quality_of(fitted, data.vectors[held_out], data.credit.shape[1])
    return result


def routed_credit(figures_N_M: Floats, credit_N_M: Floats) -> Floats:
    """What the best-scored model earns on each row, (N,)."""
    earned: Floats = credit_N_M[np.arange(len(credit_N_M)), figures_N_M.argmax(axis=1)]
    return earned


def choose_setting(
    method: Method, data: FitData, folds_N: Indices, *, unseen_share: float = 0.5
) -> tuple[Setting, Floats]:
    """The setting of the method's grid that cross-validation likes best, and its out-of-fold figures.

    Grids list the simplest setting first; the first one within TOLERANCE of the best is taken.
    """
    tried = []
    for setting in method.grid:
        fit = partial(method.fit, **setting)
        figures = out_of_fold(fit, data, folds_N)
        accuracy = mean_by_task(routed_credit(figures, data.credit), data.judged_tasks)
        if unseen_share > 0 and len(method.grid) > 1 and data.is_balanced and len(data.task_names) >= FEWEST_TASKS:
            accuracy += unseen_share * (unseen_task_accuracy(fit, data) - accuracy)
        tried.append((accuracy, setting, figures))
    least = max(accuracy for accuracy, _, _ in tried) - TOLERANCE
    return next((setting, figures) for accuracy, setting, figures in tried if accuracy >= least)


def unseen_task_accuracy(fit: FitRows, data: FitData) -> float:
    """Routed accuracy, mean over the tasks, on tasks that were left out of the fit, in up to TASK_GROUPS fits."""
    figures = out_of_fold(fit, data, data.task_index % TASK_GROUPS)
    return mean_by_task(routed_credit(figures, data.credit), data.tasks)
