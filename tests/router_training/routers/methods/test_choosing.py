import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_training.errors import DataError
from router_training.routers.methods.base import FitData, Fitted, mean_by_task
from router_training.routers.methods.choosing import (
    choose_setting,
    draw_folds,
    out_of_fold,
    routed_credit,
    unseen_task_accuracy,
)
from router_training.routers.methods.registry import METHODS, Method, method_named


def constant(data: FitData, *, favourite: int = 0) -> Fitted:
    """A stand-in method that likes one model whatever the query: knn over one neighbour."""
    accuracy = np.full((1, data.credit.shape[1]), 0.1, dtype=np.float32)
    accuracy[0, favourite] = 0.9
    tensors = {
        "weight": np.zeros((1, data.vectors.shape[1]), dtype=np.float32),
        "bias": np.zeros(1, dtype=np.float32),
        "accuracy": accuracy,
    }
    return Fitted("task_prior", tensors)


def data(rows: int = 40) -> FitData:
    credit = np.tile([[0.0, 1.0]], (rows, 1))
    tasks = tuple(f"task {row % 4}" for row in range(rows))
    return FitData(np.zeros((rows, 3), np.float32), credit, credit, tasks)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), min_size=30, max_size=60))
def test_a_question_never_stands_in_two_folds(pairs: list[tuple[str, str]]) -> None:
    questions = [question for question, _ in pairs]
    tasks = [task for _, task in pairs]
    try:
        folds = draw_folds(questions, tasks, folds=3, seed=0)
    except DataError:
        assert len(set(questions)) < 8
        return
    for question in set(questions):
        assert len({int(fold) for fold, text in zip(folds, questions, strict=True) if text == question}) == 1


def test_a_group_never_stands_in_two_folds() -> None:
    groups = [f"wording {row % 7}" if row % 2 else None for row in range(60)]
    folds = draw_folds([f"q{row}" for row in range(60)], ["a"] * 60, folds=3, seed=0, groups=groups)
    for name in set(groups) - {None}:
        assert len({int(fold) for fold, group in zip(folds, groups, strict=True) if group == name}) == 1


def test_folds_share_every_task_out_evenly() -> None:
    tasks = ["a"] * 50 + ["b"] * 10
    folds = draw_folds([f"q{row}" for row in range(60)], tasks, folds=5, seed=1)
    for task, count in (("a", 10), ("b", 2)):
        assert (
            np.bincount([fold for fold, name in zip(folds, tasks, strict=True) if name == task]).tolist() == [count] * 5
        )


def test_too_few_questions_for_the_folds_are_refused() -> None:
    with pytest.raises(DataError, match="2 different questions or groups are too few for 5"):
        draw_folds(["q", "Q ", "r"], ["a"] * 3, folds=5, seed=0)


def test_out_of_fold_figures_come_from_a_fit_that_never_saw_the_row() -> None:
    one = data()
    seen: list[int] = []

    def fit(rows: FitData) -> Fitted:
        seen.append(len(rows))
        return constant(rows)

    figures = out_of_fold(fit, one, np.arange(40) % 4)
    assert seen == [30] * 4
    assert figures[:, 0] == pytest.approx(0.9)


def test_the_better_setting_is_chosen_and_of_equals_the_first() -> None:
    method = Method("stand-in", constant, ({"favourite": 0}, {"favourite": 1}))
    setting, figures = choose_setting(method, data(), np.arange(40) % 5)
    assert setting == {"favourite": 1}
    assert figures.argmax(axis=1).tolist() == [1] * 40
    equal = Method(
        "stand-in",
        constant,
        (
            {"favourite": 1},
            {
                "favourite": 1,
            },
        ),
    )
    assert choose_setting(equal, data(), np.arange(40) % 5)[0] is equal.grid[0]


def test_an_unseen_task_is_judged_by_a_fit_without_it() -> None:
    def fit(rows: FitData) -> Fitted:
        return constant(rows, favourite=0 if "task 0" in rows.tasks else 1)

    assert unseen_task_accuracy(fit, data()) == pytest.approx(0.25)


def test_means_are_within_tasks_first() -> None:
    assert mean_by_task(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"]) == pytest.approx(0.5)
    assert routed_credit(np.array([[0.2, 0.1]]), np.array([[0.5, 1.0]])).tolist() == [0.5]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_had_by_name_and_lists_its_settings(name: str) -> None:
    method = method_named(name)
    assert method.name == name
    assert len(method.grid) >= 1
