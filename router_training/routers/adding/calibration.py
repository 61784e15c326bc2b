"""The new model's map from figures to probabilities: the parents' own, corrected once there are probes enough.

The start is the mean of the parents' rows (of an isotonic map: knot by knot). From FEWEST_PROBES probes on it is
followed by a logistic map of its log odds,

    log odds = slope * (log odds by the start) + bias,      slope ~ N(1, VARIANCE), bias ~ N(0, VARIANCE)

most probable on held-out figures. That stays a map of the bundle's method: of `temperature` slope and bias are
multiplied out, of `isotonic` the knots' values are replaced.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from router_core.scoring.calibration import Calibration, CalibrationMethod, logits_of
from router_core.tensors import Tensors
from router_training.routers.adding.base import Axes, Row
from router_training.routers.adding.logistic import most_probable, sigmoid
from router_training.routers.methods.base import Floats

FEWEST_PROBES = 64
"""Fewer probes leave a model pending. On RouterDC's data a newcomer far better or far worse than its pool is seen for
what it is from about so many probes on; `--learning-curve` shows it for another pool."""

VARIANCE = 1 / 32
AXES: Mapping[CalibrationMethod, Axes] = MappingProxyType(
    {"none": {}, "temperature": {"slope": 0, "bias": 0}, "isotonic": {"x": 0, "y": 0}}
)
_EDGE = 0.02
"""Knots this near to 0 and 1 say little of the slope between them."""


def map_of(method: CalibrationMethod, row: Row, figures_P: Floats, *, from_probabilities: bool) -> Floats:
    """Probabilities (P,) by one model's row."""
    tensors = Tensors({name: np.asarray(values)[None] for name, values in row.items()}, "fitted calibration", {"M": 1})
    calibration = Calibration(method, tensors, "", from_probabilities=from_probabilities)
    return calibration.probabilities(figures_P.astype(np.float32)[:, None])[:, 0].astype(np.float64)


def corrected(
    method: CalibrationMethod, row: Row, figures_P: Floats, credit_P: Floats, *, from_probabilities: bool
) -> Row:
    """The row after the logistic map fitted on held-out figures; method none has none."""
    if method == "none":
        return row
    said_P = map_of(method, row, figures_P, from_probabilities=from_probabilities)
    start_P = logits_of(said_P.astype(np.float32)).astype(np.float64)
    phi_P_2 = np.stack([start_P, np.ones_like(start_P)], axis=1)
    steeper, bias = most_probable(phi_P_2, credit_P, start_P, VARIANCE)
    slope = max(1.0 + float(steeper), 0.0)
    if method == "temperature":
        return {
            "slope": np.array(slope * row["slope"], dtype=np.float32),
            "bias": np.array(slope * row["bias"] + bias, dtype=np.float32),
        }
    y_K = sigmoid(slope * logits_of(row["y"]).astype(np.float64) + bias)
    return {"x": row["x"], "y": np.maximum.accumulate(y_K.astype(np.float32))}


def log_odds_line(method: CalibrationMethod, row: Row) -> tuple[float, float]:
    """Slope and bias of the straight line nearest to the log odds that the map gives."""
    if method == "none":
        return 1.0, 0.0
    if method == "temperature":
        return float(row["slope"]), float(row["bias"])
    y_K = np.clip(row["y"].astype(np.float64), _EDGE, 1 - _EDGE)
    slope, bias = np.polyfit(row["x"].astype(np.float64), np.log(y_K / (1 - y_K)), 1)
    return max(float(slope), 0.0), float(bias)
