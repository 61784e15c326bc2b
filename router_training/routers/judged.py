"""A method fitted to the training queries and judged on held-out ones: all that a bundle needs but its encoder.

Frozen vectors: the setting is chosen and every figure taken out of fold, then the method is fitted on all rows. The
calibration, the abstention thresholds and the evaluation come from out-of-fold figures alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from router_core.manifest import AbstentionSpec
from router_core.scoring.base import FloatArray
from router_training.routers.abstention_fitting import fit_abstention
from router_training.routers.calibration import FittedCalibration, fit_calibration
from router_training.routers.config import RouterTrainConfig
from router_training.routers.methods import prior_residual
from router_training.routers.methods.base import FitData, Fitted, Floats, Indices, Setting
from router_training.routers.methods.choosing import choose_setting, out_of_fold
from router_training.routers.methods.registry import Method, method_named
from router_training.routers.novelty_fitting import fit_novelty

Say = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """A fit on all rows, its held-out figures on `rows`, and what was fitted on those."""

    fitted: Fitted
    rows: Indices
    figures: Floats
    probability: Floats
    calibration: FittedCalibration
    abstention: AbstentionSpec | None
    novelty: Mapping[str, FloatArray]
    notes: Mapping[str, JsonValue]


def fit_and_judge(
    config: RouterTrainConfig, data: FitData, folds_N: Indices, models: tuple[str, ...], say: Say = lambda line: None
) -> Judged:
    """Choose the method's setting by cross-validation, take its out-of-fold figures, fit it on everything."""
    method = method_named(config.method)
    if config.given_for_routerdc:
        method = replace(method, grid=(_plain(config.given_for_routerdc),))
    say(f"{method.name}: {len(method.grid)} setting(s), {config.folds} folds")
    setting, figures = choose_setting(method, data, folds_N, unseen_share=config.unseen_share)
    notes: dict[str, JsonValue] = {"setting": dict(setting)}
    if config.method == "prior_residual":
        setting, figures, residuals = _with_residual(config, method, setting, figures, data, folds_N)
        notes["residuals"] = residuals
    fitted = method.fit(data, **setting)
    return judge(config, data, fitted, np.arange(len(data)), figures, folds_N, models, notes)


def judge(
    config: RouterTrainConfig,
    data: FitData,
    fitted: Fitted,
    rows: Indices,
    figures: Floats,
    folds_N: Indices,
    models: tuple[str, ...],
    notes: Mapping[str, JsonValue],
) -> Judged:
    """Calibrate and fit abstention on held-out figures of `rows`; novelty on all vectors."""
    held_out = data.rows(rows)
    gives = fitted.scorer(data.vectors.shape[1], len(models)).gives_probabilities
    calibration = fit_calibration(
        figures, held_out.credit, held_out.weights, held_out.judged_tasks, folds_N[rows], from_probabilities=gives
    )
    probability = calibration.probabilities(figures, from_probabilities=gives)
    return Judged(
        fitted=fitted,
        rows=rows,
        figures=figures,
        probability=probability,
        calibration=calibration,
        abstention=fit_abstention(probability, held_out.credit, models, max_regret=config.max_regret),
        novelty=fit_novelty(data),
        notes=notes,
    )


def _with_residual(
    config: RouterTrainConfig, method: Method, setting: Setting, figures: Floats, data: FitData, folds_N: Indices
) -> tuple[Setting, Floats, JsonValue]:
    """The setting with the residual that proved a gain, and its own out-of-fold figures; else what came in."""
    names = tuple(name for name in config.residuals if name != "none")
    kept, tried = prior_residual.choose_residual(
        data, folds_N, penalty=float(str(setting["penalty"])), methods=names, seed=config.seed
    )
    record: dict[str, JsonValue] = {
        "kept": None if kept is None else kept.record(),
        "tried": [candidate.record() for candidate in tried],
    }
    if kept is None:
        return setting, figures, record
    setting = {**setting, "residual": kept.method, "setting": dict(kept.setting)}
    return setting, out_of_fold(lambda rows: method.fit(rows, **setting), data, folds_N), record


def _plain(options: Mapping[str, object]) -> Setting:
    return {name: value for name, value in options.items() if isinstance(value, str | int | float | bool)}
