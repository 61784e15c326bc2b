import numpy as np
import pytest

from router_training.routers.abstention_fitting import fit_abstention, gains_and_regrets

MODELS = ("default", "other")


def test_gain_and_regret_by_hand() -> None:
    probability = np.array([[0.5, 0.75], [0.5, 0.25]])
    credit = np.array([[1.0, 0.0], [0.0, 1.0]])
    gain, regret = gains_and_regrets(probability, credit, 0)
    assert gain.tolist() == [0.25, 0.0]
    assert regret.tolist() == [1.0, 0.0]


def pool(harm: float) -> tuple[np.ndarray, np.ndarray]:
    """Half of the queries promise a gain of 0.4 and keep it; half promise 0.1 and lose `harm`."""
    rng = np.random.default_rng(0)
    n = 2000
    big = np.arange(n) % 2 == 0
    probability = np.stack([np.full(n, 0.5), np.where(big, 0.9, 0.6)], axis=1)
    right = rng.uniform(size=n) < np.where(big, 0.9, 0.5 - harm)
    return probability, np.stack([rng.uniform(size=n) < 0.5, right], axis=1).astype(float)


def test_where_routing_helps_everything_is_routed() -> None:
    fitted = fit_abstention(*pool(harm=-0.1), MODELS, max_regret=0.01)
    assert fitted is not None
    assert fitted.coverage["default"] == 1.0
    assert fitted.thresholds["default"] == 0.0


def test_gains_that_do_not_come_true_are_abstained_from_once_the_promise_would_break() -> None:
    """The losing half costs 0.45 * 0.5 of accuracy, more than the other half brings: routing all would break it."""
    fitted = fit_abstention(*pool(harm=0.45), MODELS, max_regret=0.0)
    assert fitted is not None
    assert 0.1 < fitted.thresholds["default"] <= 0.4
    assert fitted.coverage["default"] == 0.5


def test_the_promise_holds_on_fresh_queries() -> None:
    rng = np.random.default_rng(4)
    skill = rng.uniform(size=(3000, 2))
    probability = np.clip(skill + rng.normal(scale=0.2, size=skill.shape), 0, 1)
    credit = (rng.uniform(size=skill.shape) < skill).astype(float)
    fitted = fit_abstention(probability[:1500], credit[:1500], MODELS, max_regret=0.01)
    assert fitted is not None
    gain, regret = gains_and_regrets(probability[1500:], credit[1500:], 0)
    assert (regret * (gain >= fitted.thresholds["default"])).mean() <= 0.01


def test_too_few_queries_promise_nothing() -> None:
    assert fit_abstention(np.full((99, 2), 0.5), np.ones((99, 2)), MODELS, max_regret=0.01) is None


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_itself_has_no_gain(default: int) -> None:
    probability = np.array([[0.1, 0.9], [0.9, 0.1]])
    gain, regret = gains_and_regrets(probability, probability, default)
    assert gain[probability.argmax(axis=1) == default] == pytest.approx(0)
    assert regret[probability.argmax(axis=1) == default] == pytest.approx(0)
