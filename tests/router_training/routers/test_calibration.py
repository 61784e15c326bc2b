import numpy as np
import pytest

from router_training.routers.calibration import fit_confidence_temperature


def test_the_temperature_that_made_the_labels_is_found() -> None:
    rng = np.random.default_rng(0)
    similarities = rng.uniform(-1, 1, (4000, 4))
    powers = np.exp(similarities / 0.25)
    shares = powers / powers.sum(axis=1, keepdims=True)
    winners = np.array([rng.choice(4, p=row) for row in shares])
    credit = np.eye(4)[winners]
    assert fit_confidence_temperature(similarities, credit) == pytest.approx(0.25, rel=0.1)


def test_queries_that_nobody_answered_change_nothing() -> None:
    rng = np.random.default_rng(1)
    similarities, credit = rng.uniform(-1, 1, (50, 3)), rng.integers(0, 2, (50, 3)).astype(float)
    credit[:, 0] = 1
    alone = fit_confidence_temperature(similarities, credit)
    padded = fit_confidence_temperature(np.vstack([similarities, similarities]), np.vstack([credit, 0 * credit]))
    assert padded == pytest.approx(alone, rel=1e-6)


def test_without_any_answered_query_the_temperature_is_one() -> None:
    assert fit_confidence_temperature(np.ones((3, 2)), np.zeros((3, 2))) == 1.0
