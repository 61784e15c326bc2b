import numpy as np
import pytest
import torch

from router_training.errors import DataError, TrainingError
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.mlp import fit

RNG = np.random.default_rng(0)
N = 400
VECTORS = RNG.uniform(-1, 1, size=(N, 2)).astype(np.float32)
TASKS = ("a",) * 300 + ("b",) * 100


def data(credit: np.ndarray, vectors: np.ndarray = VECTORS, seed: int = 0) -> FitData:
    return FitData(vectors, credit.astype(float), np.zeros(credit.shape), TASKS, seed)


def alternating() -> np.ndarray:
    """Model 0 is right where the signs of both coordinates agree, model 1 where they do not: no straight line."""
    agree = VECTORS[:, 0] * VECTORS[:, 1] > 0
    return np.stack([agree, ~agree], axis=1)


def test_it_learns_what_no_straight_line_can() -> None:
    credit = alternating()
    fitted = fit(data(credit), hidden=64, epochs=60, weight_decay=0.01)
    routed = quality_of(fitted, VECTORS, 2).argmax(axis=1)
    assert credit[np.arange(N), routed].mean() > 0.9


def test_vectors_that_say_nothing_give_the_mean_over_the_tasks() -> None:
    credit = np.stack([RNG.uniform(size=N) < 0.8, np.r_[np.ones(300), np.zeros(100)]], axis=1)
    blind = data(credit, np.ones((N, 2), np.float32))
    quality = quality_of(fit(blind, epochs=60, weight_decay=0.0), blind.vectors, 2)
    expected = (credit[:300].mean(axis=0) + credit[300:].mean(axis=0)) / 2
    np.testing.assert_allclose(quality[0], expected, atol=0.05)


def test_a_share_of_right_samples_is_its_own_target() -> None:
    quality = quality_of(fit(data(np.full((N, 1), 0.3)), epochs=40), VECTORS, 1)
    np.testing.assert_allclose(quality, 0.3, atol=0.06)


def test_one_query_task_pulls_as_hard_as_many() -> None:
    """The two tasks disagree on the same vectors; balanced, neither wins."""
    credit = np.repeat([[1.0], [0.0]], [300, 100], axis=0)
    quality = quality_of(fit(data(credit), epochs=30), VECTORS, 1)
    assert quality.mean() == pytest.approx(0.5, abs=0.1)


def test_the_seed_decides_and_the_callers_draws_are_left_alone() -> None:
    credit = alternating()
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    first, again, other = (fit(data(credit, seed=seed)).tensors["out.weight"] for seed in (0, 0, 1))
    assert torch.rand(3).tolist() == expected
    assert (first == again).all()
    assert not np.allclose(first, other)


def test_the_scale_and_origin_of_a_dimension_do_not_matter() -> None:
    credit = alternating()
    moved = (VECTORS * [50, 0.02] + [7, -1]).astype(np.float32)
    np.testing.assert_allclose(
        quality_of(fit(data(credit, moved)), moved, 2), quality_of(fit(data(credit)), VECTORS, 2), atol=0.02
    )


def test_residuals_are_refused() -> None:
    with pytest.raises(DataError, match=r"^mlp: credits run from 0 to 1.5, but it learns from credits of 0 to 1 alone"):
        fit(data(np.tile([[0.0, 1.5]], (N, 1))))


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    with pytest.raises(TrainingError, match=r"^mlp: the loss is nan; lower learning_rate \(0.003\)$"):
        fit(data(alternating(), np.full((N, 2), np.nan, np.float32)))
