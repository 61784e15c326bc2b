import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from router_core.scoring.calibration import logits_of
from router_training.routers.calibration import FittedCalibration, fit_calibration, fit_isotonic, fit_temperature

RNG = np.random.default_rng(0)
N, M = 4000, 3


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def overconfident(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are three times too large, and outcomes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, M))
    credit = (rng.uniform(size=(N, M)) < sigmoid(logits)).astype(float)
    return sigmoid(3 * logits), credit


def fit(figures: np.ndarray, credit: np.ndarray, *, from_probabilities: bool = True) -> FittedCalibration:
    folds = np.arange(len(figures)) % 5
    return fit_calibration(
        figures, credit, np.ones(len(figures)), ("t",) * len(figures), folds, from_probabilities=from_probabilities
    )


def test_the_slope_that_made_the_outcomes_is_found_and_the_brier_score_falls() -> None:
    figures, credit = overconfident()
    fitted = fit(figures, credit)
    assert fitted.method == "temperature"
    assert fitted.tensors["slope"] == pytest.approx([1 / 3] * M, rel=0.15)
    after = fitted.probabilities(figures, from_probabilities=True)
    assert ((after - credit) ** 2).mean() < ((figures - credit) ** 2).mean() - 0.01


def test_temperature_is_logistic_regression_with_weights_and_soft_targets() -> None:
    """Against scikit-learn: a target of 0.25 is one right row in four."""
    z = RNG.normal(size=(60, 1))
    credit = RNG.integers(0, 5, size=(60, 1)) / 4
    weights = RNG.uniform(0.5, 2, size=60)
    rows = np.concatenate([z, z])
    labels = np.concatenate([np.ones(60), np.zeros(60)])
    shares = np.concatenate([weights * credit[:, 0], weights * (1 - credit[:, 0])])
    theirs = LogisticRegression(C=1e6, tol=1e-10).fit(rows, labels, sample_weight=shares)
    ours = fit_temperature(z, credit, weights)
    assert ours["slope"][0] == pytest.approx(max(theirs.coef_[0, 0], 0), abs=2e-3)
    if theirs.coef_[0, 0] > 0:
        assert ours["bias"][0] == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_a_figure_that_says_nothing_gets_the_base_rate() -> None:
    z, credit = RNG.normal(size=(500, 1)), np.zeros((500, 1))
    credit[:100] = 1
    falling = fit_temperature(-credit * 3 + 0.1 * z, credit, np.ones(500))
    assert falling["slope"][0] == 0
    assert sigmoid(falling["bias"])[0] == pytest.approx(0.2, abs=1e-3)


def test_isotonic_knots_rise_even_where_all_figures_are_one() -> None:
    tensors = fit_isotonic(np.full((50, 2), 0.7), np.tile([[1.0, 0.0]], (50, 1)), np.ones(50))
    assert (np.diff(tensors["x"]) > 0).all()
    assert tensors["y"][0] == pytest.approx(1)
    assert tensors["y"][1] == pytest.approx(0)


def test_a_bent_map_is_followed_best_by_isotonic_regression() -> None:
    rng = np.random.default_rng(3)
    z = rng.uniform(-1, 1, size=(N, M))
    credit = (rng.uniform(size=(N, M)) < np.where(z > 0, 0.8, 0.3)).astype(float)
    brier = fit(z, credit, from_probabilities=False).evaluation["brier"]
    assert isinstance(brier, dict)
    assert brier["isotonic"] < brier["temperature"] < brier["shared"] + 1e-3  # type: ignore[operator]


def test_a_calibration_that_routes_worse_is_not_taken() -> None:
    """Model 1 is always right where its figure says so, and its figures are low: no map may hand its queries away."""
    rng = np.random.default_rng(5)
    figures = np.stack([rng.uniform(0.4, 0.6, 1000), rng.uniform(0.3, 0.7, 1000)], axis=1)
    credit = np.zeros((1000, 2))
    credit[np.arange(1000), figures.argmax(axis=1)] = 1
    fitted = fit(figures, credit)
    after = fitted.probabilities(figures, from_probabilities=True)
    earned = credit[np.arange(1000), after.argmax(axis=1)].mean()
    assert earned >= 1 - 0.01


def test_probabilities_that_are_right_already_are_left_alone() -> None:
    rng = np.random.default_rng(7)
    figures = rng.choice([0.2, 0.8], size=(N, M))
    credit = (rng.uniform(size=(N, M)) < figures).astype(float)
    fitted = fit(figures, credit)
    after = fitted.probabilities(figures, from_probabilities=True)
    assert np.abs(after - figures).max() < 0.05
    assert np.isfinite(logits_of(figures.astype(np.float32))).all()
