import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_core.errors import BundleError
from router_core.scoring.calibration import EDGE, Calibration, CalibrationMethod, logits_of
from router_core.tensors import AnyArray, Tensors

FIGURES = st.floats(-100, 100, width=32)


def calibration(
    method: CalibrationMethod, *, from_probabilities: bool = False, models: int = 2, **named: Any
) -> Calibration:
    tensors: dict[str, AnyArray] = {f"c.{name}": np.asarray(value, dtype=np.float32) for name, value in named.items()}
    held = Tensors(tensors, "f", {"M": models})
    made = Calibration(method, held, "c.", from_probabilities=from_probabilities)
    held.refuse_rest()
    return made


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_none_clips_what_is_a_probability_already() -> None:
    probabilities = calibration("none", from_probabilities=True).probabilities(
        np.array([[0.3, 1.2], [-1, 0.5]], np.float32)
    )
    np.testing.assert_allclose(probabilities, [[0.3, 1], [0, 0.5]])


def test_temperature_is_a_sigmoid_for_each_model() -> None:
    made = calibration("temperature", slope=[2, 0], bias=[-1, 3])
    probabilities = made.probabilities(np.array([[0.5, 9], [1.5, -9]], np.float32))
    constant = 1 / (1 + math.exp(-3))
    np.testing.assert_allclose(probabilities, [[0.5, constant], [1 / (1 + math.exp(-2)), constant]], rtol=1e-6)


def test_probabilities_are_calibrated_by_their_log_odds() -> None:
    made = calibration("temperature", from_probabilities=True, slope=[1, 2], bias=[0, 0])
    probabilities = made.probabilities(np.array([[0.3, 0.75]], np.float32))
    np.testing.assert_allclose(probabilities, [[0.3, 0.9]], rtol=1e-5)  # odds of 3 squared are odds of 9


def test_certainty_has_finite_log_odds() -> None:
    logits = logits_of(np.array([[0, 1, -5, 5, 0.5]], np.float32))
    np.testing.assert_allclose(logits, [[-1, 1, -1, 1, 0] * np.array(logit(1 - float(EDGE)))], rtol=1e-3)


def test_isotonic_is_a_line_between_knots_and_flat_beyond() -> None:
    made = calibration("isotonic", x=[[0, 2, 4], [-1, 0, 1]], y=[[0.1, 0.5, 0.6], [0, 0, 1]])
    figures = np.array([[1, 0.25], [-50, -50], [50, 50], [3, 0], [4, 1]], np.float32)
    expected = [[0.3, 0.25], [0.1, 0], [0.6, 1], [0.55, 0], [0.6, 1]]
    np.testing.assert_allclose(made.probabilities(figures), expected, rtol=1e-6)


def test_one_knot_is_a_constant() -> None:
    made = calibration("isotonic", x=[[3], [-2]], y=[[0.25], [0.75]])
    np.testing.assert_allclose(made.probabilities(np.array([[0, 9]], np.float32)), [[0.25, 0.75]])


@st.composite
def maps(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    models, knots = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    row = arrays(np.float32, knots, elements=FIGURES, unique=True)
    x = np.stack([np.sort(draw(row)) for _ in range(models)])
    y = np.sort(draw(arrays(np.float32, (models, knots), elements=st.floats(0, 1, width=32))), axis=1)
    return x, y


@given(knots=maps(), data=st.data())
def test_isotonic_is_each_models_own_map(
    knots: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], data: st.DataObject
) -> None:
    x, y = knots
    models = len(x)
    figures = data.draw(arrays(np.float32, (3, models), elements=FIGURES | st.sampled_from(x.ravel().tolist())))
    probabilities = calibration("isotonic", models=models, x=x, y=y).probabilities(figures)
    assert probabilities.dtype == np.float32
    for m in range(models):
        # Steep pieces of a map enlarge rounding, which is why values at and between two knots may differ a little.
        expected = np.interp(figures[:, m], x[m], y[m])
        steepest = max([0.0, *(np.diff(y[m]) / np.diff(x[m].astype(float))).tolist()])
        np.testing.assert_allclose(probabilities[:, m], expected, atol=1e-6 + steepest * 1e-12)


@given(
    figures=arrays(np.float32, (4, 2), elements=st.floats(-1e6, 1e6, width=32)),
    slope=arrays(np.float32, 2, elements=st.floats(0, 1000, width=32)),
    bias=arrays(np.float32, 2, elements=FIGURES),
    from_probabilities=st.booleans(),
)
def test_a_calibration_never_reorders_one_models_queries(
    figures: npt.NDArray[np.float32],
    slope: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    from_probabilities: bool,
) -> None:
    made = calibration("temperature", from_probabilities=from_probabilities, slope=slope, bias=bias)
    probabilities = made.probabilities(np.sort(figures, axis=0))
    assert (np.diff(probabilities, axis=0) >= -1e-6).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize(
    ("method", "named", "message"),
    [
        ("none", {}, "f: calibration none needs a scorer that gives probabilities"),
        ("temperature", {"slope": [1, -1], "bias": [0, 0]}, "f: c.slope: a calibration must not fall"),
        ("temperature", {"slope": [1, 1]}, "f: tensor 'c.bias' is missing"),
        ("temperature", {"slope": [1, 1, 1], "bias": [0, 0]}, r"f: c.slope: shape is \(3,\)"),
        ("isotonic", {"x": [[0, 1], [1, 1]], "y": [[0, 1], [0, 1]]}, "f: c.x must rise and c.y must not fall"),
        ("isotonic", {"x": [[0, 1], [0, 1]], "y": [[0, 1], [1, 0]]}, "f: c.x must rise and c.y must not fall"),
        ("isotonic", {"x": [[0, 1], [0, 1]], "y": [[0], [1]]}, r"f: c.y: shape is \(2, 1\)"),
    ],
)
def test_maps_that_cannot_be_are_refused(method: CalibrationMethod, named: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        calibration(method, **named)
