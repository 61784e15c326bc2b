"""The new model's map from figures to probabilities: the parents' own, corrected once there are probes enough.

The start is the mean of the parents' rows (of an isotonic map: knot by knot). From FEWEST_PROBES probes on it is
followed by a logistic map of its log odds,

    log odds = slope * (log odds by the start) + bias

fitted on held-out figures around slope 1 and bias 0. That stays a map of the bundle's method: of `temperature` slope
and bias are multiplied out, of `isotonic` the knots' values are replaced.
"""

import numpy as np

from router_core.manifest import CalibrationSpec
from router_core.scoring.base import FloatArray
from router_core.scoring.calibration import Calibration, logits_of
from router_core.tensors import Tensors
from router_training.routers.adding.base import Row
from router_training.routers.adding.logistic import most_probable
from router_training.routers.methods.base import Floats

FEWEST_PROBES = 64
AXES = {"none": {}, "temperature": {"slope": 0, "bias": 0}, "isotonic": {"x": 0, "y": 0}}
VARIANCE = 1 / 64
_LOGIT_CLIP = 0.02


def map_of(method: str, row: Row, figures_P: Floats, *, from_probabilities: bool) -> Floats:
    """Probabilities (P,) by one model's row."""
    tensors = {name: values[None] for name, values in row.items()}
    calibration = Calibration(
        method, Tensors(tensors, "fitted calibration", {"M": 1}), "", from_probabilities=from_probabilities
    )
    return calibration.probabilities(figures_P.astype(np.float32)[:, None])[:, 0].astype(np.float64)


def corrected(method: str, row: Row, figures_P: Floats, credit_P: Floats, *, from_probabilities: bool) -> Row:
    """The row after the logistic map fitted on held-out figures; method none has none."""
    if method == "none":
        return row
    said_P = map_of(method, row, figures_P, from_probabilities=from_probabilities).astype(np.float32)
    phi_P_2 = np.stack([logits_of(said_P), np.ones_like(said_P)], axis=1).astype(np.float64)
    steeper, bias = most_probable(phi_P_2, credit_P, phi_P_2[:, 0], VARIANCE)
    slope = max(1.0 + float(steeper), 0.0)
    if method == "temperature":
        return {"slope": np.float32(slope * row["slope"]), "bias": np.float32(slope * row["bias"] + bias)}
    z_K = slope * logits_of(row["y"]).astype(np.float64) + bias
    y_K = (0.5 * (np.tanh(0.5 * z_K) + 1)).astype(np.float32)
    return {"x": row["x"], "y": np.maximum.accumulate(y_K)}


def log_odds_line(method: str, row: Row) -> tuple[float, float]:
    """Slope and bias of the straight line nearest to the log odds that the map gives."""
    if method == "temperature":
        return float(row["slope"]), float(row["bias"])
    y_K = np.clip(row["y"].astype(np.float64), _LOGIT_CLIP, 1 - _LOGIT_CLIP)
    slope, bias = np.polyfit(row["x"].astype(np.float64), np.log(y_K / (1 - y_K)), 1)
    return float(max(slope, 0.0)), float(bias)
