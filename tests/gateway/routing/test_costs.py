from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CostCapError, RequestError
from gateway.routing.base import Dial, RoutingRequest
from gateway.routing.costs import Costs, ExpectedCosts
from gateway.settings import CostUnit
from tests.gateway.routing.samples import model

PRICE = {"input_per_million_tokens": 2.0, "output_per_million_tokens": 10.0}
MODELS = [model("both", price=PRICE, seconds_per_token=0.02), model("none"), model("slow", seconds_per_token=0.5)]


def expected(unit: CostUnit, **fields: Any) -> dict[str, float]:
    costs = Costs(MODELS, unit=unit, expected_answer_tokens=100)
    return dict(costs.expected(RoutingRequest(ask="hello", **fields)).by_model)


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        # 1,000 * 2 + 100 * 10 of a currency, by the million.
        ({"prompt_tokens": 1000}, 0.003),
        ({"prompt_tokens": 1000, "max_tokens": 40}, 0.0024),
        ({"prompt_tokens": 1000, "max_tokens": 4000}, 0.003),
        ({"prompt_tokens": 1000, "further_prompt_tokens": 500, "answers": 3}, 0.006),
        ({}, 0.001),
    ],
)
def test_a_price_is_of_prompt_and_answer(fields: dict[str, Any], cost: float) -> None:
    assert expected("price", **fields) == pytest.approx({"both": cost})


def test_seconds_are_those_of_generation_alone() -> None:
    assert expected("seconds", prompt_tokens=10_000) == pytest.approx({"both": 2.0, "slow": 50.0})
    assert expected("seconds", max_tokens=1) == pytest.approx({"both": 0.02, "slow": 0.5})


def test_models_without_the_figure_are_named() -> None:
    assert Costs(MODELS, unit="price", expected_answer_tokens=1).unknown_among({"slow", "none"}) == ["none", "slow"]
    assert Costs(MODELS, unit="seconds", expected_answer_tokens=1).unknown_among({"slow", "both"}) == []


def test_a_free_model_fits_every_cap() -> None:
    costs = ExpectedCosts("price", {"free": 0.0})
    assert costs.fit("free", Dial(max_cost=0.0))
    assert not costs.fit("other", Dial(max_cost=1e9))
    assert costs.fit("other", Dial())


def test_a_model_of_unknown_cost_is_refused_without_a_figure() -> None:
    costs = ExpectedCosts("price", {})
    assert "what the model costs is not known" in costs.refusal(["m"], Dial(max_cost=1.0)).message
    assert isinstance(costs.refusal(["m"], Dial(max_cost=1.0)), RequestError)
    assert isinstance(costs.refusal(["m"], Dial(key_max_cost=1.0)), CostCapError)


@given(st.floats(1e-12, 1e6))
def test_the_cost_that_a_refusal_names_is_enough_as_a_cap(cost: float) -> None:
    costs = ExpectedCosts("seconds", {"m": cost})
    told = float(costs.refusal(["m"], Dial(max_cost=0.0)).message.rsplit(" ", 2)[1])
    assert told == pytest.approx(cost, rel=1e-5)
    assert costs.fit("m", Dial(max_cost=told))
