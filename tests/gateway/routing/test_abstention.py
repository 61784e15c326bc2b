from collections.abc import Collection, Mapping, Sequence

import pytest

from gateway.routing.abstention import Abstention
from gateway.routing.base import RankedModel, Ranking
from gateway.routing.weighing import Weighing
from tests.gateway.routing.samples import ranked

ALL = ("a", "b", "c")


def instead(
    models: Sequence[RankedModel],
    *,
    stand_in: str | None = None,
    allowed: Collection[str] = ALL,
    least_gains: Mapping[str, float] | None = None,
    quality: float = 1.0,
    costs: Mapping[str, float] | None = None,
) -> str | None:
    """Who answers instead of the first of `models`, where a is the default and its least gain 0.25."""
    ranking = Ranking(tuple(models), least_gains={"a": 0.25} if least_gains is None else least_gains)
    weighing = Weighing.among(quality, costs or {}, costs or {})
    found = Abstention("a", stand_in).instead_of(models[0], ranking, weighing, allowed)
    return None if found is None else found.model


@pytest.mark.parametrize(("gain", "who"), [(0.0, "a"), (0.125, "a"), (0.25, None), (0.5, None)])
def test_the_default_answers_below_the_least_gain(gain: float, who: str | None) -> None:
    assert instead(ranked(b=0.25 + gain, a=0.25)) == who


def test_the_gain_is_over_the_default_and_not_over_the_second_best() -> None:
    assert instead(ranked(b=0.75, c=0.74, a=0.25)) is None


def test_a_default_that_is_best_or_without_a_threshold_or_without_a_probability_leaves_the_ranking() -> None:
    assert instead(ranked(a=0.3, b=0.25)) is None
    assert instead(ranked(b=0.3, a=0.25), least_gains={"b": 0.9}) is None
    assert instead(ranked(b=0.3)) is None
    assert instead([RankedModel("b", 0.3), RankedModel("a", 0.25, is_pending=True)]) is None


def test_masks_hold() -> None:
    assert instead(ranked(b=0.3, a=0.25), allowed={"b", "c"}) is None
    assert instead(ranked(b=0.3, a=0.25), stand_in="c", allowed={"b", "c"}) is None
    assert instead(ranked(b=0.3, a=0.25), stand_in="c", allowed={"a", "b"}) == "a"


def test_a_stronger_model_stands_in_for_the_default() -> None:
    assert instead(ranked(b=0.3, a=0.25, c=0.2), stand_in="c") == "c"
    assert instead(ranked(b=0.3, a=0.25), stand_in="pinned-only", allowed={*ALL, "pinned-only"}) == "pinned-only"
    assert instead(ranked(b=0.3, a=0.25), stand_in="b") is None


@pytest.mark.parametrize(
    ("quality", "who"),
    [
        # Gain in utility over quality, (p_b - p_a) + (1 - quality) / quality * (c_a - c_b) / 4, against 0.25.
        (1.0, "a"),  # 0.125
        (0.9, "a"),  # 0.125 + 0.111 * 0.5 = 0.18
        (0.75, None),  # 0.125 + 0.333 * 0.5 = 0.29
        (0.0, None),
    ],
)
def test_a_cheaper_model_gains_by_its_cost_too(quality: float, who: str | None) -> None:
    assert instead(ranked(b=0.5, a=0.375), quality=quality, costs={"a": 4.0, "b": 2.0}) == who
