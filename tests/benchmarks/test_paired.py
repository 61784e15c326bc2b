import numpy as np
import pytest

from benchmarks.paired import Difference, listed, paragraph, percent, table, verdicts


def test_a_difference_is_the_mean_over_tasks_of_paired_gaps_in_points() -> None:
    ours = [np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.5])]
    theirs = [np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.25])]
    # tasks: 0.25 and 0.25
    assert Difference.paired(ours, theirs).mean == pytest.approx(25.0)


def test_the_interval_is_the_one_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    gaps = [rng.integers(-1, 2, 60).astype(float), rng.integers(-1, 2, 40).astype(float)]
    found = Difference.of(gaps)
    means = [np.mean([100 * rng.choice(gap, len(gap)).mean() for gap in gaps]) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1.0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 2.0, "beats"),
        (-2.0, -0.1, "loses to"),
        (-0.1, 2.0, "cannot be told from"),
        (0.0, 0.0, "cannot be told from"),
    ],
)
def test_a_gain_is_claimed_only_for_an_interval_above_zero(low: float, high: float, verdict: str) -> None:
    assert Difference((low + high) / 2, low, high).verdict == verdict


def test_no_difference_is_shown_as_minus_zero() -> None:
    assert str(Difference(-0.001, -0.5, 0.0)) == "+0.00 [-0.50, +0.00]"


def test_verdicts_name_who_stands_where() -> None:
    found = {"kNN": Difference(1, 0.5, 2), "MLP": Difference(-1, -2, -0.5), "ridge": Difference(0, -1, 1)}
    assert verdicts(found, of="routers") == (
        "these beat it: kNN; these lose to it: MLP; these cannot be told from it: ridge"
    )
    assert verdicts({"plain": found["kNN"]}, of="queries") == (
        "beats it on: plain; loses to it on: none; cannot be told from it on: none"
    )


def test_percent_gives_the_mean_over_tasks_within_its_interval() -> None:
    assert percent([np.ones(5), np.zeros(5)]) == "50.0 [50.0, 50.0]"


def test_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert listed([]) == "none"
    assert listed(["x", "y", "z"]) == "x, y and z"
    assert paragraph("  one\n   two ") == "one two"
