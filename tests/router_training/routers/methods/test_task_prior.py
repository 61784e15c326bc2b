import numpy as np
import pytest

from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.task_prior import SHRINKAGE, fit, task_accuracies


def data() -> FitData:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal([2, 0, 0], 0.3, (90, 3)), rng.normal([0, 2, 0], 0.3, (30, 3))])
    credit = np.concatenate([np.tile([[1.0, 0.0]], (90, 1)), np.tile([[0.0, 1.0]], (30, 1))])
    return FitData(vectors.astype(np.float32), credit, credit, ("sum",) * 90 + ("verse",) * 30)


def test_accuracies_are_shrunk_towards_the_mean_over_tasks_by_hand() -> None:
    credit = np.array([[1.0], [1.0], [0.0]])
    one = FitData(np.zeros((3, 2), np.float32), credit, credit, ("a", "a", "b"))
    overall = 0.5
    expected = [[(2 + SHRINKAGE * overall) / (2 + SHRINKAGE)], [(0 + SHRINKAGE * overall) / (1 + SHRINKAGE)]]
    assert task_accuracies(one) == pytest.approx(np.array(expected))


def test_each_task_gets_its_best_model_and_a_query_between_them_both() -> None:
    fitted = fit(data(), penalty=1e-4)
    quality = quality_of(fitted, np.array([[2, 0, 0], [0, 2, 0], [1, 1, 0]], np.float32), 2)
    assert quality.argmax(axis=1).tolist()[:2] == [0, 1]
    assert abs(quality[2, 0] - quality[2, 1]) < 0.35
    assert ((quality >= 0) & (quality <= 1)).all()


def test_a_larger_penalty_is_less_sure() -> None:
    far = np.array([[4, 0, 0]], np.float32)
    sure, unsure = (quality_of(fit(data(), penalty=penalty), far, 2)[0, 0] for penalty in (1e-4, 1.0))
    assert sure > unsure


def test_a_single_task_is_its_mean() -> None:
    credit = np.array([[1.0, 0.0], [0.0, 0.0]])
    fitted = fit(FitData(np.ones((2, 2), np.float32), credit, credit, ("a", "a")))
    assert quality_of(fitted, np.zeros((1, 2), np.float32), 2)[0].tolist() == pytest.approx([0.5, 0.0])


def test_three_tasks_give_scikit_learns_posterior() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(90, 4)).astype(np.float32)
    credit = np.tile(np.eye(3), (30, 1))
    one = FitData(vectors, credit, credit, ("a", "b", "c") * 30)
    theirs = LogisticRegression(C=1 / (1e-4 * 90), max_iter=400).fit(vectors, one.task_index).predict_proba(vectors)
    assert quality_of(fit(one), vectors, 3) == pytest.approx(theirs @ task_accuracies(one), abs=1e-3)
