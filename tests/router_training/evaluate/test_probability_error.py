import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_training.evaluate.probability_error import BINS, brier, expected_calibration_error, reliability


def test_both_errors_by_hand() -> None:
    said, came = np.array([0.2, 0.2, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 0.5])
    # Bins of a half: {0.2, 0.2} says 0.2 and comes to 0.5; {0.9, 1.0} says 0.95 and comes to 0.75.
    assert expected_calibration_error(said, came, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)
    assert brier(said, came) == pytest.approx((0.04 + 0.64 + 0.01 + 0.25) / 4)


def test_bins_are_closed_below_and_the_last_holds_one() -> None:
    binned = reliability(np.array([0.0, 0.5, 1.0]), np.zeros(3), bins=2)
    assert binned.share.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_an_empty_bin_says_nothing() -> None:
    binned = reliability(np.array([0.1]), np.array([1.0]))
    assert binned.share[0] == 0
    assert np.isnan(binned.stated[0])
    assert expected_calibration_error(np.array([0.1]), np.array([1.0])) == pytest.approx(0.9)


def test_one_weight_per_query_counts_for_all_its_models() -> None:
    said, came = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    weights = np.array([3.0, 1.0])
    doubled = [np.repeat(part, [3, 1], axis=0) for part in (said, came)]
    assert brier(said, came, weights) == pytest.approx(brier(*doubled))
    assert expected_calibration_error(said, came, weights) == pytest.approx(expected_calibration_error(*doubled))


pairs = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(pairs)
def test_ece_is_what_a_loop_over_bins_says(pairs: list[tuple[float, float]]) -> None:
    bins: dict[int, list[tuple[float, float]]] = {}
    for said, came in pairs:
        bins.setdefault(min(int(said * BINS), BINS - 1), []).append((said, came))
    total = sum(abs(sum(said - came for said, came in members)) for members in bins.values()) / len(pairs)
    said, came = np.array(pairs).T
    assert expected_calibration_error(said, came) == pytest.approx(total, abs=1e-9)
    # A mean of gaps is never above the root of their mean square.
    assert expected_calibration_error(said, came) <= np.sqrt(brier(said, came)) + 1e-9
