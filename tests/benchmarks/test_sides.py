from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sides import Sides, earned_by, read_routerdc, read_tables
from router_core.table import TableRow, write_table
from router_training.errors import DataError
from tests.benchmarks.samples import BEST, MODELS, TEST_ROWS, TRAIN_ROWS


def test_both_sides_have_the_columns_of_train_whatever_order_test_has(sides: Sides) -> None:
    assert sides.train.models == sides.test.models == MODELS
    for task, best in BEST.items():
        assert (sides.test.credit[sides.rows(task), best] > 0).all()


def test_tasks_are_named_and_credited_by_their_metric(sides: Sides) -> None:
    assert len(sides.train) == 5 * TRAIN_ROWS
    assert [len(sides.rows(task)) for task in sides.tasks] == [TEST_ROWS] * 5
    assert set(sides.test.credit[sides.rows("MMLU")].ravel()) <= {0.0, 1.0}
    assert set(sides.test.credit[sides.rows("GSM8K")].ravel()) <= {0.0, 0.8}


def test_leaving_a_task_out_leaves_nothing_of_it_in_train_and_nothing_else_in_test(sides: Sides) -> None:
    unseen = sides.without("CMMLU")
    assert "CMMLU" not in unseen.train.tasks
    assert len(unseen.train) == 4 * TRAIN_ROWS
    assert set(unseen.test.tasks) == {"CMMLU"}
    assert unseen.train.credit.shape == (len(unseen.train), len(MODELS))


def test_the_best_single_model_is_the_one_of_train(tiny_sides: Sides) -> None:
    # X: 1 and 0, Y: 0.25 and 0.75
    assert tiny_sides.best_single == 0
    swapped = replace(tiny_sides, test=replace(tiny_sides.test, credit=tiny_sides.test.credit[:, ::-1]))
    assert swapped.best_single == 0


def test_values_are_sorted_apart_by_task(tiny_sides: Sides) -> None:
    parts = tiny_sides.by_task(np.array([1.0, 2.0, 3.0, 4.0]))
    assert [part.tolist() for part in parts] == [[1.0, 2.0], [3.0, 4.0]]
    assert [part.tolist() for part in tiny_sides.by_task(np.arange(4.0), leave_out="X")] == [[2.0, 3.0]]
    assert earned_by(np.array([0, 1, 1, 0]), tiny_sides.test.credit).tolist() == [1.0, 0.0, 1.0, 0.5]


def test_columns_can_follow_a_bundle(tiny_sides: Sides) -> None:
    swapped = tiny_sides.in_order(("two", "one"))
    assert swapped.test.credit.tolist() == tiny_sides.test.credit[:, ::-1].tolist()
    with pytest.raises(DataError, match="three"):
        tiny_sides.in_order(("one", "two", "three"))


def test_a_test_task_that_was_never_trained_on_is_refused(tmp_path: Path) -> None:
    for name, task in (("train", "sums"), ("test", "poems")):
        write_table(tmp_path / f"{name}.jsonl", [TableRow(id="0", question="q", task=task, scores={"m": 1.0})])
    with pytest.raises(DataError, match="'poems' is not in"):
        read_tables(tmp_path / "train.jsonl", tmp_path / "test.jsonl")


def test_reading_is_the_same_each_time(routerdc_folder: Path, sides: Sides) -> None:
    assert read_routerdc(routerdc_folder).test.questions == sides.test.questions
