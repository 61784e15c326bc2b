import numpy as np
import pytest

from router_core.scoring.novelty import Novelty
from router_core.tensors import Tensors
from router_training.routers.methods.base import FitData
from router_training.routers.novelty_fitting import fit_novelty


def data(seed: int = 0) -> FitData:
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([rng.normal(3, 1, (300, 4)), rng.normal(-3, 1, (100, 4))]).astype(np.float32)
    credit = np.tile([[1.0, 0.0]], (400, 1))
    credit[300:] = [0.0, 0.5]
    return FitData(vectors, credit, credit, ("a",) * 300 + ("b",) * 100)


def novelty_of(fitted: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    novelty = Novelty(Tensors(fitted, "test", {"D": 4, "M": 2}), "")
    return novelty.novelty(vectors.astype(np.float32), np.zeros(len(vectors), np.float32))


def test_training_queries_are_hardly_new_and_far_ones_are() -> None:
    fitted = fit_novelty(data())
    fresh = data(seed=1).vectors
    assert (novelty_of(fitted, fresh) == 0).mean() > 0.9
    assert novelty_of(fitted, np.full((1, 4), 60.0))[0] == pytest.approx(0.95)
    between = novelty_of(fitted, np.zeros((1, 4)))[0]
    assert 0 < between <= 1


def test_base_rates_weigh_every_task_the_same() -> None:
    assert np.allclose(fit_novelty(data())["base_rates"], [0.5, 0.25], atol=0.02)


def test_a_dimension_that_never_varied_says_nothing() -> None:
    one = data()
    flat = one.vectors.copy()
    flat[:, 2] = 7
    fitted = fit_novelty(FitData(flat, one.credit, one.scores, one.tasks))
    moved = flat[:1].copy()
    moved[:, 2] = 1e6
    assert novelty_of(fitted, moved)[0] == novelty_of(fitted, flat[:1])[0]
