import pytest

from benchmarks.line_up import PRIOR
from benchmarks.sides import Sides
from benchmarks.unseen_tasks import BEST_OF_OTHERS, DEFAULT, TASK_BEST, leave_one_out
from tests.benchmarks.samples import BEST, TEST_ROWS


def test_each_task_is_routed_by_routers_that_never_saw_it(sides: Sides) -> None:
    found = leave_one_out(sides, [PRIOR], (0,), with_default=False)
    assert [one.task for one in found] == list(sides.tasks)
    for one in found:
        credit = sides.test.credit[sides.rows(one.task)]
        assert len(one.earned[PRIOR.label]) == TEST_ROWS
        assert one.earned[TASK_BEST].tolist() == credit[:, BEST[one.task]].tolist()
        assert one.earned[BEST_OF_OTHERS].tolist() == credit[:, sides.without(one.task).best_single].tolist()
        assert DEFAULT not in one.earned
    # The best model of CMMLU is the best of no other task, so nobody can have found it.
    chinese = next(one for one in found if one.task == "CMMLU")
    assert chinese.earned[PRIOR.label].mean() < chinese.earned[TASK_BEST].mean()


def test_the_default_is_trained_anew_without_the_task(sides: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    two_tasks = Sides(sides.train, sides.test, ("MMLU", "GSM8K"))
    for one in leave_one_out(two_tasks, [], (0,), with_default=True):
        assert len(one.earned[DEFAULT]) == TEST_ROWS
    assert "without MMLU" in capsys.readouterr().out
