"""The exact sweep beside a hand-computed case and beside trying every lambda of a fine grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_training.evaluate.cost_curve import CostCurve, area_under, cost_quality, random_mix, sweep

COST = np.array([1.0, 2.0, 4.0])
# First query: cheap 0.2, middle 0.5, dear 0.7. It moves to the middle one at (0.7 - 0.5) / 2 = 0.1 and to the cheap one
# at 0.3. Second query: cheap 0.4, middle 0.1, dear 0.7. The middle one is never worth it: to the cheap one at 0.1.
PROBABILITY = np.array([[0.2, 0.5, 0.7], [0.4, 0.1, 0.7]])
CREDIT = np.array([[0.0, 1.0, 0.5], [0.25, 0.0, 1.0]])


def test_the_sweep_by_hand() -> None:
    curve = sweep(PROBABILITY, CREDIT, np.broadcast_to(COST, CREDIT.shape), np.ones(2))
    assert curve.weight.tolist() == pytest.approx([0.0, 0.1, 0.3])
    assert curve.cost.tolist() == pytest.approx([4.0, 1.5, 1.0])
    assert curve.quality.tolist() == pytest.approx([0.75, 0.625, 0.125])


def test_every_policy_and_area_by_hand() -> None:
    traded = cost_quality(PROBABILITY, CREDIT, COST)
    assert traded.single_cost.tolist() == [1.0, 2.0, 4.0]
    assert traded.single_quality.tolist() == pytest.approx([0.125, 0.5, 0.75])
    # All three singles are on the hull: slopes 0.375 and 0.125.
    assert traded.random_mix.cost.tolist() == [4.0, 2.0, 1.0]
    assert traded.random_mix.weight.tolist() == pytest.approx([0.0, 0.125, 0.375])
    # The oracle: middle for the first query; dear for the second, until 0.25 (to cheap); the first at 1 to cheap.
    assert traded.oracle.weight.tolist() == pytest.approx([0.0, 0.25, 1.0])
    assert traded.oracle.cost.tolist() == pytest.approx([3.0, 1.5, 1.0])
    assert traded.oracle.quality.tolist() == pytest.approx([1.0, 0.625, 0.125])
    areas = traded.areas
    assert areas["routed"] == pytest.approx((0.5 * (0.125 + 0.625) / 2 + 2.5 * (0.625 + 0.75) / 2) / 3)
    assert areas["random mix"] == pytest.approx(((0.125 + 0.5) / 2 + 2 * (0.5 + 0.75) / 2) / 3)
    # What it does not spend leaves its quality as it is.
    assert areas["oracle"] == pytest.approx((0.5 * (0.125 + 0.625) / 2 + 1.5 * (0.625 + 1) / 2 + 1 * 1.0) / 3)


def test_of_equals_the_first_is_free_and_the_cheapest_is_best_once_cost_counts() -> None:
    probability = np.array([[0.5, 0.5, 0.5]])
    cost = np.array([[2.0, 1.0, 3.0]])
    curve = sweep(probability, np.array([[0.0, 1.0, 0.0]]), cost, np.ones(1))
    assert curve.weight.tolist() == [0.0, 0.0]
    assert curve.cost.tolist() == [2.0, 1.0]
    assert curve.quality.tolist() == [0.0, 1.0]


def test_each_query_may_have_costs_of_its_own() -> None:
    probability = np.array([[0.5, 0.6], [0.5, 0.6]])
    cost = np.array([[1.0, 2.0], [1.0, 5.0]])
    curve = sweep(probability, np.array([[0.0, 1.0], [0.0, 1.0]]), cost, np.ones(2))
    assert curve.weight.tolist() == pytest.approx([0.0, 0.025, 0.1])
    assert curve.cost.tolist() == pytest.approx([3.5, 1.5, 1.0])


def test_weights_count_queries() -> None:
    doubled = cost_quality(np.repeat(PROBABILITY, [2, 1], axis=0), np.repeat(CREDIT, [2, 1], axis=0), COST)
    weighed = cost_quality(PROBABILITY, CREDIT, COST, np.array([2.0, 1.0]))
    assert weighed.areas == pytest.approx(doubled.areas)
    np.testing.assert_allclose(weighed.routed.cost, doubled.routed.cost)


def test_a_model_that_may_not_be_chosen_is_on_no_curve_but_stands_alone() -> None:
    traded = cost_quality(PROBABILITY, CREDIT, COST, routable=(True, True, False))
    assert traded.routed.cost.max() == pytest.approx(1.5)  # the middle one and the cheap one
    assert traded.oracle.cost.max() == pytest.approx(1.5)
    assert traded.single_quality[2] == pytest.approx(0.75)


def test_the_random_mix_leaves_out_what_lies_below_its_hull() -> None:
    mix = random_mix(np.array([1.0, 2.0, 3.0, 4.0, 1.0]), np.array([0.2, 0.3, 0.8, 0.7, 0.4]))
    assert mix.cost.tolist() == [3.0, 1.0]  # the best, and the better of the two cheapest
    assert mix.quality.tolist() == [0.8, 0.4]


def test_the_random_mix_is_one_model_where_the_cheapest_is_the_best() -> None:
    mix = random_mix(np.array([1.0, 2.0]), np.array([0.9, 0.5]))
    assert mix.quality.tolist() == [0.9]
    assert area_under(mix, 1.0, 2.0) == pytest.approx(0.9)


def test_the_area_is_cut_at_both_ends() -> None:
    # Quality is half the cost, measured from 0 to 10; between 2 and 4 its mean is 1.5.
    curve = CostCurve(np.zeros(2), np.array([10.0, 0.0]), np.array([5.0, 0.0]))
    assert area_under(curve, 2.0, 4.0) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("cost", "routable", "message"),
    [([1.0, 1.0, 1.0], None, "costs the same"), ([1.0, 2.0, 3.0], (False,) * 3, "no model may be routed to")],
)
def test_nothing_to_trade_is_refused(cost: list[float], routable: tuple[bool, ...] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost_quality(PROBABILITY, CREDIT, np.array(cost), routable=routable)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 5), st.booleans())
def test_between_break_points_the_curve_is_what_a_plain_maximum_says(
    seed: int, queries: int, models: int, is_per_query: bool
) -> None:
    rng = np.random.default_rng(seed)
    # Quarters make ties of every kind.
    probability = rng.integers(0, 5, (queries, models)) / 4
    cost = rng.integers(1, 6, (queries if is_per_query else 1, models)) / 2
    cost = np.broadcast_to(cost, (queries, models))
    credit, weights = rng.random((queries, models)), rng.random(queries) + 0.1
    curve = sweep(probability, credit, cost, weights)
    assert (np.diff(curve.weight) >= 0).all()
    assert (np.diff(curve.cost) <= 0).all()
    middles = [*(curve.weight[1:-1] + curve.weight[2:]) / 2, curve.weight[-1] + 1.0]
    rows = np.arange(queries)
    for weight in middles:
        place = int(np.searchsorted(curve.weight, weight, side="right")) - 1
        if np.isclose(curve.weight, weight, atol=1e-9).any():
            continue
        utility = probability - weight * cost
        # Equal utility between break points means equal cost and probability: the sweep keeps the first it met.
        best_cost = np.where(np.isclose(utility, utility.max(axis=1, keepdims=True)), cost, np.inf)
        assert curve.cost[place] == pytest.approx(np.average(best_cost.min(axis=1), weights=weights))
        unique = (best_cost < np.inf).sum(axis=1) == 1
        if unique.all():
            earned = credit[rows, utility.argmax(axis=1)]
            assert curve.quality[place] == pytest.approx(np.average(earned, weights=weights))
