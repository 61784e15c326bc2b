"""Fit what turns a scorer's figures into trusted probabilities (router_core/scoring/calibration.py), on held-out folds.

Three candidates are fitted on out-of-fold figures and judged by cross-validation on them: no map at all (only for a
scorer that gives probabilities), `temperature` (a slope and a bias per model) and `isotonic`; for a scorer without
probabilities also one slope and bias shared by all models, which cannot reorder them. The best Brier score wins among
those that do not route worse than the bare figures by more than TOLERANCE: a calibration should not cost accuracy.

Leaves out: calibration within a task, or for one user's traffic.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from router_core.scoring.base import FloatArray
from router_core.scoring.calibration import Calibration, CalibrationMethod, logits_of
from router_core.tensors import Tensors
from router_training.routers.methods.base import Floats, Indices, mean_by_task
from router_training.routers.methods.choosing import routed_credit

KNOTS = 16
TOLERANCE = 1e-3
_NEWTON_STEPS = 50
_RIDGE = 1e-3
_LARGEST_SLOPE = 1e3


@dataclass(frozen=True)
class FittedCalibration:
    """The method, its tensors (without prefix), and Brier scores before and after, cross-validated."""

    method: CalibrationMethod
    tensors: Mapping[str, FloatArray]
    evaluation: Mapping[str, JsonValue]

    def probabilities(self, figures_N_M: Floats, *, from_probabilities: bool) -> Floats:
        """What the bundle will say of these figures, (N, M)."""
        return _apply(self.method, self.tensors, figures_N_M, from_probabilities)


@dataclass(frozen=True)
class _Candidate:
    name: str
    method: CalibrationMethod
    fit: Callable[[Floats, Floats, Floats], dict[str, FloatArray]]


def fit_calibration(
    figures_N_M: Floats,
    credit_N_M: Floats,
    weights_N: Floats,
    tasks: tuple[str, ...],
    folds_N: Indices,
    *,
    from_probabilities: bool,
) -> FittedCalibration:
    """Choose and fit a calibration on out-of-fold figures (N, M)."""
    least = mean_by_task(routed_credit(figures_N_M, credit_N_M), tasks) - TOLERANCE
    judged: dict[str, tuple[float, float]] = {}
    candidates = _candidates(from_probabilities)
    for candidate in candidates:
        held_out = np.empty_like(figures_N_M)
        for fold in np.unique(folds_N):
            rows = folds_N != fold
            tensors = candidate.fit(_z(figures_N_M[rows], from_probabilities), credit_N_M[rows], weights_N[rows])
            held_out[~rows] = _apply(candidate.method, tensors, figures_N_M[~rows], from_probabilities)
        brier = float(np.average(((held_out - credit_N_M) ** 2).mean(axis=1), weights=weights_N))
        judged[candidate.name] = (brier, mean_by_task(routed_credit(held_out, credit_N_M), tasks))
    # The first candidate keeps the order of the bare figures, so there always is one.
    allowed = [one for one in candidates if judged[one.name][1] >= least] or [candidates[0]]
    chosen = min(allowed, key=lambda one: judged[one.name][0])
    return FittedCalibration(
        chosen.method,
        chosen.fit(_z(figures_N_M, from_probabilities), credit_N_M, weights_N),
        {
            "chosen": chosen.name,
            "brier": {name: round(brier, 6) for name, (brier, _) in judged.items()},
            "routed": {name: round(routed, 6) for name, (_, routed) in judged.items()},
        },
    )


def fit_temperature(z_N_M: Floats, credit_N_M: Floats, weights_N: Floats) -> dict[str, FloatArray]:
    """Slope and bias of each model: weighted logistic regression of its credit on z, slope not below zero."""
    pairs = [_logistic(z_N_M[:, model], credit_N_M[:, model], weights_N) for model in range(z_N_M.shape[1])]
    slope, bias = np.array(pairs, dtype=np.float32).T
    return {"slope": slope.copy(), "bias": bias.copy()}


def fit_isotonic(z_N_M: Floats, credit_N_M: Floats, weights_N: Floats) -> dict[str, FloatArray]:
    """Isotonic regression of each model's credit on z, read off at KNOTS points over the range of z."""
    from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]

    xs, ys = [], []
    for model in range(z_N_M.shape[1]):
        z_N = z_N_M[:, model]
        low, high = float(z_N.min()), float(z_N.max())
        x_K = np.linspace(low, max(high, low + 1e-3 * max(1.0, abs(low))), KNOTS).astype(np.float32)
        fitted = IsotonicRegression(out_of_bounds="clip").fit(z_N, credit_N_M[:, model], sample_weight=weights_N)
        xs.append(x_K)
        ys.append(np.maximum.accumulate(np.clip(fitted.predict(x_K), 0, 1)).astype(np.float32))
    return {"x": np.stack(xs), "y": np.stack(ys)}


def _candidates(from_probabilities: bool) -> tuple[_Candidate, ...]:
    def shared(z_N_M: Floats, credit_N_M: Floats, weights_N: Floats) -> dict[str, FloatArray]:
        models = z_N_M.shape[1]
        slope, bias = _logistic(z_N_M.ravel(), credit_N_M.ravel(), np.repeat(weights_N, models))
        return {"slope": np.full(models, slope, np.float32), "bias": np.full(models, bias, np.float32)}

    def nothing(z_N_M: Floats, credit_N_M: Floats, weights_N: Floats) -> dict[str, FloatArray]:
        return {}

    first = _Candidate("none", "none", nothing) if from_probabilities else _Candidate("shared", "temperature", shared)
    return (
        first,
        _Candidate("temperature", "temperature", fit_temperature),
        _Candidate("isotonic", "isotonic", fit_isotonic),
    )


def _z(figures_N_M: Floats, from_probabilities: bool) -> Floats:
    return logits_of(figures_N_M.astype(np.float32)).astype(np.float64) if from_probabilities else figures_N_M


def _apply(
    method: CalibrationMethod, tensors: Mapping[str, FloatArray], figures_N_M: Floats, from_probabilities: bool
) -> Floats:
    named = Tensors(dict(tensors), "fitted calibration", {"M": figures_N_M.shape[1]})
    calibration = Calibration(method, named, "", from_probabilities=from_probabilities)
    return calibration.probabilities(figures_N_M.astype(np.float32)).astype(np.float64)


def _logistic(z_N: Floats, credit_N: Floats, weights_N: Floats) -> tuple[float, float]:
    """Newton's method on the weighted log loss with targets in 0..1 and a faint ridge, so that it always ends."""
    spread = float(z_N.std()) or 1.0
    x_N_2: Any = np.stack([z_N / spread, np.ones_like(z_N)], axis=1)
    theta = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        said_N = 0.5 * (np.tanh(0.5 * (x_N_2 @ theta)) + 1)
        gradient = x_N_2.T @ (weights_N * (said_N - credit_N)) + _RIDGE * theta
        curvature = (x_N_2 * (weights_N * said_N * (1 - said_N))[:, None]).T @ x_N_2 + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        theta -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if theta[0] < 0:
        rate = float(np.clip(np.average(credit_N, weights=weights_N), 1e-4, 1 - 1e-4))
        return 0.0, float(np.log(rate / (1 - rate)))
    return float(min(theta[0] / spread, _LARGEST_SLOPE)), float(theta[1])
