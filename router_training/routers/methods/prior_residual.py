"""Train the `prior_residual` scorer (router_core/scoring/prior_residual.py), the default: the prior, and proof of more.

1. The task prior is fitted, and its figures p of every training row are taken out of fold.
2. Each candidate residual (a method and one setting of its grid) is fitted on credit - p, and judged out of fold: what
   does routing by p + residual earn over routing by p, query by query? In p the task is recognised out of fold, but the
   models' accuracies on it are those of all rows: where two models are about equal, a mean leans away from the very
   rows that were left out of it, and noise would look like a gain over it.
3. The candidate that earns most is kept only if the lower end of the paired bootstrap interval of its gain, at level
   LEVEL divided by the number of candidates (Bonferroni), is above zero. Otherwise the prior stands alone.

Leaves out: a residual that is strong on one task and weak on another; the gain is the mean over the tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from pydantic import JsonValue

from router_training.evaluate.routed_accuracy import bootstrap_interval
from router_training.routers.methods import task_prior
from router_training.routers.methods.base import FitData, Fitted, Floats, Indices, Setting, mean_by_task
from router_training.routers.methods.choosing import out_of_fold, routed_credit
from router_training.routers.methods.registry import method_named

LEVEL = 0.05
RESAMPLES = 2000
RESIDUALS = ("ridge", "knn")
INNER_FOLDS = 5
GRID: tuple[Setting, ...] = task_prior.GRID


@dataclass(frozen=True)
class Candidate:
    """One residual: its method, one setting of it, and its cross-validated gain over the prior in credit."""

    method: str
    setting: Setting
    gain: float
    low: float
    high: float

    def record(self) -> dict[str, JsonValue]:
        """For the manifest."""
        return {
            "method": self.method,
            "setting": dict(self.setting),
            "gain": round(self.gain, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
        }


def fit(data: FitData, *, penalty: float = 1e-4, residual: str | None = None, setting: Setting | None = None) -> Fitted:
    """Fit the prior and, if one is named, the residual of that method and setting on what the prior leaves."""
    prior = task_prior.fit(data, penalty=penalty)
    tensors = {f"prior.{name}": tensor for name, tensor in prior.tensors.items()}
    if residual is None:
        return Fitted("prior_residual", tensors, options={"residual": None}, settings=prior.settings)
    fitted = _fit_residual(data, penalty, residual, setting or {})
    tensors |= {f"residual.{name}": tensor for name, tensor in fitted.tensors.items()}
    tensors["strength"] = np.ones(1, dtype=np.float32)
    settings = {**prior.settings, "residual_setting": dict(fitted.settings)}
    return Fitted("prior_residual", tensors, options={"residual": residual}, settings=settings)


def choose_residual(
    data: FitData, folds_N: Indices, *, penalty: float, methods: Sequence[str] = RESIDUALS, seed: int = 0
) -> tuple[Candidate | None, tuple[Candidate, ...]]:
    """The residual that is kept, if any, and all that were tried, over the prior with that penalty."""
    prior_N_M = prior_figures(data, folds_N, penalty)
    target = replace(data, credit=data.credit - prior_N_M)
    base_N = routed_credit(prior_N_M, data.credit)
    tried = []
    count = sum(len(method_named(name).grid) for name in methods)
    for name in methods:
        method = method_named(name)
        for setting in method.grid:
            figures = out_of_fold(partial(method.fit, **setting), target, folds_N)
            gain_N = routed_credit(np.clip(prior_N_M + figures, 0, 1), data.credit) - base_N
            low, high = _interval(gain_N, data.judged_tasks, LEVEL / count, seed)
            tried.append(Candidate(name, setting, mean_by_task(gain_N, data.judged_tasks), low, high))
    best = max(tried, key=lambda candidate: candidate.gain, default=None)
    return (best if best is not None and best.low > 0 else None), tuple(tried)


def prior_figures(data: FitData, folds_N: Indices, penalty: float) -> Floats:
    """The prior's figures (N, M): tasks recognised out of fold, accuracies of all rows (see the module)."""
    accuracy_T_M = task_prior.task_accuracies(data).astype(np.float32)

    def fit_classifier(rows: FitData) -> Fitted:
        fitted = task_prior.fit(rows, penalty=penalty)
        if rows.task_names != data.task_names:
            return fitted
        return replace(fitted, tensors={**fitted.tensors, "accuracy": accuracy_T_M})

    return out_of_fold(fit_classifier, data, folds_N)


def _fit_residual(data: FitData, penalty: float, name: str, setting: Mapping[str, JsonValue]) -> Fitted:
    """The residual on out-of-fold figures of the prior: in-fold ones would leave too little to explain."""
    rng = np.random.default_rng(data.seed)
    units_N = _units(data)
    count = int(units_N.max()) + 1
    folds_N = (rng.permutation(count) % min(INNER_FOLDS, count))[units_N]
    prior_N_M = prior_figures(data, folds_N, penalty)
    fitted: Fitted = method_named(name).fit(replace(data, credit=data.credit - prior_N_M), **setting)
    return fitted


def _units(data: FitData) -> Indices:
    """What must not be torn apart: the group of each row (N,), as an index; a row without one is a group of its own."""
    if not data.groups:
        return np.arange(len(data), dtype=np.intp)
    names = [f"row {row}" if group is None else f"group {group}" for row, group in enumerate(data.groups)]
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def _interval(gain_N: Floats, tasks: Sequence[str], level: float, seed: int) -> tuple[float, float]:
    names = np.array(tasks)
    parts = [gain_N[names == name] for name in sorted(set(tasks))]
    return bootstrap_interval(parts, resamples=RESAMPLES, seed=seed, level=level)
