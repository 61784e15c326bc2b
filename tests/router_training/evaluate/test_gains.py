import numpy as np
import pytest

from router_training.evaluate.gains import mean_paired_gain, paired_gain_within_task, worst_task_regret
from router_training.evaluate.routed_accuracy import RoutedFile

MATHS = RoutedFile("maths", np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.5, 1.0]]), np.array([0, 1, 0, 0]))
WORDS = RoutedFile("words", np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1, 0]))
RIVALS = [np.array([0, 0, 0, 0]), np.array([1, 1])]


def test_gain_over_the_rival_by_hand() -> None:
    maths, words = paired_gain_within_task([MATHS, WORDS], RIVALS, resamples=500, seed=0)
    assert (maths.name, maths.n, words.n) == ("maths", 4, 2)
    # Only the second query of maths and the second of words go elsewhere: +1 of 4, -1 of 2.
    assert maths.gain == pytest.approx(0.25)
    assert maths.differing == pytest.approx(0.25)
    assert words.gain == pytest.approx(-0.5)
    assert maths.interval[0] <= 0.25 <= maths.interval[1]
    assert words.interval == (-1.0, 0.0)
    mean = mean_paired_gain([MATHS, WORDS], RIVALS, resamples=500, seed=0)
    assert (mean.gain, mean.n) == (pytest.approx(-0.125), 6)
    assert mean.differing == pytest.approx((0.25 + 0.5) / 2)


def test_a_lower_level_gives_a_wider_interval() -> None:
    rng = np.random.default_rng(0)
    task = RoutedFile("t", rng.random((200, 2)), rng.integers(0, 2, 200))
    rival = [np.zeros(200, dtype=np.intp)]
    usual, strict = (
        paired_gain_within_task([task], rival, resamples=2000, seed=0, level=level)[0].interval
        for level in (0.05, 0.005)
    )
    assert strict[0] < usual[0] < usual[1] < strict[1]


def test_the_worst_task_and_its_regret() -> None:
    # maths: routed 0.75, best single 0.5; words: routed 0.5, best single 1.
    assert worst_task_regret([MATHS, WORDS]) == ("words", pytest.approx(0.5))
    assert worst_task_regret([MATHS]) == ("maths", pytest.approx(-0.25))
