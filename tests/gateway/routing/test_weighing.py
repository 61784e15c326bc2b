"""The dial: a case worked out by hand, and the utility against probability - lambda * cost."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.routing.base import RankedModel, Ranking
from gateway.routing.weighing import Weighing
from tests.gateway.routing.samples import ranked

COSTS = {"small": 1.0, "mid": 2.0, "large": 10.0}
BY_QUALITY = ranked(large=0.9, mid=0.8, small=0.5)


def order(quality: float, models: Sequence[RankedModel] = BY_QUALITY, names: Sequence[str] = tuple(COSTS)) -> list[str]:
    weighing = Weighing.among(quality, COSTS, names)
    return [entry.model for entry in weighing.applied(Ranking(tuple(models))).models]


@pytest.mark.parametrize(
    ("quality", "models"),
    [
        (1.0, ["large", "mid", "small"]),
        # 0.95 * 0.9 - 0.05 * 1 = 0.805; 0.95 * 0.8 - 0.05 * 0.2 = 0.75
        (0.95, ["large", "mid", "small"]),
        # 0.8 * 0.9 - 0.2 * 1 = 0.52; 0.8 * 0.8 - 0.2 * 0.2 = 0.6; 0.8 * 0.5 - 0.2 * 0.1 = 0.38
        (0.8, ["mid", "large", "small"]),
        # 0.45 - 0.5 = -0.05; 0.4 - 0.1 = 0.3; 0.25 - 0.05 = 0.2
        (0.5, ["mid", "small", "large"]),
        (0.0, ["small", "mid", "large"]),
    ],
)
def test_the_dial_by_hand(quality: float, models: list[str]) -> None:
    assert order(quality) == models


def test_the_largest_cost_is_that_of_the_models_that_may_answer() -> None:
    # Without large, 0.5 * 0.8 - 0.5 * 1 = -0.1 and 0.5 * 0.5 - 0.5 * 0.5 = 0.
    assert order(0.5, ranked(mid=0.8, small=0.5), names=["mid", "small"]) == ["small", "mid"]
    assert order(0.5, ranked(mid=0.8, small=0.5)) == ["mid", "small"]


PROBABILITIES = st.floats(0, 1)
QUALITIES = st.floats(0.01, 1)


@given(QUALITIES, st.lists(st.tuples(PROBABILITIES, st.floats(0, 100)), min_size=2, max_size=6))
def test_the_order_is_that_of_probability_minus_lambda_times_cost(
    quality: float, figures: list[tuple[float, float]]
) -> None:
    costs = {str(i): cost for i, (_, cost) in enumerate(figures)}
    largest = max(costs.values())
    assume(largest > 1e-3)
    price = (1 - quality) / (quality * largest)
    worth = {str(i): probability - price * cost for i, (probability, cost) in enumerate(figures)}
    models = tuple(RankedModel(str(i), probability) for i, (probability, _) in enumerate(figures))
    found = Weighing.among(quality, costs, costs).applied(Ranking(tuple(sorted(models, key=lambda m: -m.confidence))))  # type: ignore[operator]
    worths = [worth[entry.model] for entry in found.models]
    assert worths == pytest.approx(sorted(worths, reverse=True), abs=1e-6 / quality)


@given(PROBABILITIES, PROBABILITIES)
def test_with_quality_1_a_gain_is_the_difference_of_probabilities(best: float, other: float) -> None:
    weighing = Weighing.among(1.0, COSTS, COSTS)
    assert weighing.gain(RankedModel("large", best), RankedModel("small", other)) == best - other


def test_a_pending_model_stays_last_and_has_no_gain() -> None:
    pending = RankedModel("small", 0.99, is_pending=True)
    assert order(0.0, [*ranked(large=0.9, mid=0.8), pending]) == ["mid", "large", "small"]
    assert Weighing.among(0.5, COSTS, COSTS).gain(RankedModel("large", 0.9), pending) is None


def test_a_ranking_without_probabilities_keeps_its_order() -> None:
    assert order(0.0, [RankedModel("large"), RankedModel("small")]) == ["large", "small"]


def test_known_costs_are_noted_and_free_pools_need_no_dial() -> None:
    weighing = Weighing.among(0.5, {"a": 0.0, "b": 0.0}, ["a", "b"])
    found = weighing.applied(Ranking(tuple(ranked(a=0.9, b=0.5, c=0.1)), novelty=0.25, encode_s=1.0))
    assert [(entry.model, entry.cost) for entry in found.models] == [("a", 0.0), ("b", 0.0), ("c", None)]
    assert (found.novelty, found.encode_s) == (0.25, 1.0)
