import numpy as np
import pytest

from router_core.scoring.calibration import CalibrationMethod, logits_of
from router_training.routers.adding.base import Row
from router_training.routers.adding.calibration import corrected, log_odds_line, map_of

RNG = np.random.default_rng(0)
FIGURES = RNG.uniform(-1, 1, 200)
KNOTS = np.linspace(-1.2, 1.2, 16)
ROWS: dict[CalibrationMethod, Row] = {
    "temperature": {"slope": np.array(2.0, dtype=np.float32), "bias": np.array(-0.5, dtype=np.float32)},
    "isotonic": {
        "x": KNOTS.astype(np.float32),
        "y": (1 / (1 + np.exp(-(2.0 * KNOTS - 0.5)))).astype(np.float32),
    },
}


@pytest.mark.parametrize("method", ROWS)
def test_both_methods_are_corrected_by_one_logistic_map_of_the_log_odds(method: CalibrationMethod) -> None:
    credit = (RNG.random(200) < 0.9).astype(np.float64)
    row = corrected(method, ROWS[method], FIGURES, credit, from_probabilities=False)
    before = map_of(method, ROWS[method], KNOTS, from_probabilities=False)
    after = map_of(method, row, KNOTS, from_probabilities=False)
    slope, bias = np.polyfit(logits_of(before.astype(np.float32)), logits_of(after.astype(np.float32)), 1)
    line = slope * logits_of(before.astype(np.float32)) + bias
    assert logits_of(after.astype(np.float32)) == pytest.approx(line, abs=1e-3)  # a straight line in log odds
    said = map_of(method, row, FIGURES, from_probabilities=False)
    start = map_of(method, ROWS[method], FIGURES, from_probabilities=False)
    assert abs(said.mean() - credit.mean()) < abs(start.mean() - credit.mean()) / 2


@pytest.mark.parametrize("method", ROWS)
def test_a_start_that_is_right_is_hardly_corrected(method: CalibrationMethod) -> None:
    start = map_of(method, ROWS[method], FIGURES, from_probabilities=False)
    row = corrected(method, ROWS[method], FIGURES, start, from_probabilities=False)
    assert map_of(method, row, FIGURES, from_probabilities=False) == pytest.approx(start, abs=1e-3)


def test_a_correction_never_turns_a_map_round() -> None:
    against = 1 - map_of(
        "temperature",
        {**ROWS["temperature"], "slope": np.array(50, dtype=np.float32)},
        FIGURES,
        from_probabilities=False,
    )
    for method in ROWS:
        row = corrected(method, ROWS[method], np.tile(FIGURES, 20), np.tile(against, 20), from_probabilities=False)
        assert (np.diff(map_of(method, row, np.sort(FIGURES), from_probabilities=False)) >= 0).all()


def test_without_a_map_there_is_nothing_to_correct() -> None:
    assert corrected("none", {}, np.array([0.2, 0.4]), np.array([1.0, 1.0]), from_probabilities=True) == {}
    assert map_of("none", {}, np.array([-0.1, 0.4]), from_probabilities=True) == pytest.approx([0, 0.4])


@pytest.mark.parametrize("method", ROWS)
def test_the_line_of_log_odds_is_read_off_either_map(method: CalibrationMethod) -> None:
    assert log_odds_line(method, ROWS[method]) == pytest.approx((2.0, -0.5), abs=1e-3)
    assert log_odds_line("none", {}) == (1.0, 0.0)
