from typing import Any

import pytest

from gateway.errors import CostCapError, NoHealthyUpstreamError, PermissionDeniedError, RequestError
from gateway.routing.base import Dial, RoutingRequest
from gateway.routing.costs import ExpectedCosts
from gateway.routing.masks import mask_models, refusal
from tests.gateway.routing.samples import Pool, model


def request(**fields: Any) -> RoutingRequest:
    return RoutingRequest(ask="hello", **fields)


def test_a_plain_request_may_go_to_every_model_in_config_order() -> None:
    masked = mask_models([model("b"), model("a")], request(), Pool())
    assert masked.allowed == ("b", "a")
    assert masked.excluded == ()


@pytest.mark.parametrize(
    ("options", "fields", "why"),
    [
        ({}, {"needs": frozenset({"image"})}, "image"),
        ({"modalities": ["text", "image"]}, {"needs": frozenset({"audio"})}, "audio"),
        ({"tools": False}, {"needs": frozenset({"tools"})}, "tools"),
        ({"structured_output": False}, {"needs": frozenset({"structured_output"})}, "structured_output"),
        ({"context_tokens": 100}, {"prompt_tokens": 100}, "context"),
        ({"context_tokens": 100}, {"prompt_tokens": 60, "max_tokens": 41}, "context"),
        ({}, {"allowed_models": frozenset({"other"})}, "not_allowed"),
        ({}, {"allowed_models": frozenset()}, "not_allowed"),
    ],
)
def test_each_mask_excludes_and_says_why(options: dict[str, Any], fields: dict[str, Any], why: str) -> None:
    masked = mask_models([model("m", **options)], request(**fields), Pool())
    assert masked.allowed == ()
    assert masked.why_not("m") == why


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"modalities": ["text", "image"]}, {"needs": frozenset({"image"})}),
        ({}, {"needs": frozenset({"tools", "structured_output"})}),
        ({"context_tokens": 100}, {"prompt_tokens": 60, "max_tokens": 40}),
        ({"context_tokens": 100}, {"prompt_tokens": 99}),
        ({}, {"prompt_tokens": 10_000_000}),
        ({}, {"allowed_models": frozenset({"m"})}),
    ],
)
def test_a_model_that_meets_the_request_is_allowed(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert mask_models([model("m", **options)], request(**fields), Pool()).allowed == ("m",)


def test_an_unhealthy_model_is_excluded_last() -> None:
    masked = mask_models([model("m", tools=False), model("n")], request(needs=frozenset({"tools"})), Pool({"m", "n"}))
    assert masked.why_not("m") == "tools"
    assert masked.why_not("n") == "unhealthy"


def test_among_forgets_the_other_models() -> None:
    masked = mask_models([model("a"), model("b"), model("c")], request(), Pool({"c"})).among({"b", "c"})
    assert masked.allowed == ("b",)
    assert [entry.model.name for entry in masked.excluded] == ["c"]


@pytest.mark.parametrize(
    ("need", "words"),
    [
        ("image", "no served model takes images"),
        ("audio", "no served model takes audio"),
        ("tools", "no served model takes tool calls"),
        ("structured_output", "no served model takes response_format or guided decoding"),
    ],
)
def test_the_refusal_names_the_need_that_nobody_meets(need: Any, words: str) -> None:
    asked = request(needs=frozenset({need}))
    masked = mask_models([model("m", tools=False, structured_output=False)], asked, Pool())
    error = refusal(masked, asked, retry_after_s=5.0)
    assert isinstance(error, RequestError)
    assert error.message == words


def test_the_refusal_names_needs_that_no_model_meets_together() -> None:
    asked = request(needs=frozenset({"image", "tools"}))
    models = [model("sees", modalities=["text", "image"], tools=False), model("calls")]
    error = refusal(mask_models(models, asked, Pool()), asked, retry_after_s=5.0)
    assert isinstance(error, RequestError)
    assert error.message == "no served model takes images and tool calls in one request"


def test_the_refusal_gives_the_figures_of_a_request_that_is_too_long() -> None:
    asked = request(prompt_tokens=900, max_tokens=200)
    models = [model("m", context_tokens=512), model("n", context_tokens=1024)]
    error = refusal(mask_models(models, asked, Pool()), asked, retry_after_s=5.0)
    assert isinstance(error, RequestError)
    assert "900 prompt tokens and 200" in error.message
    assert "1024" in error.message


def test_a_model_that_would_do_but_is_down_makes_it_a_503_with_a_time() -> None:
    asked = request(needs=frozenset({"image"}))
    models = [model("blind"), model("sees", modalities=["text", "image"])]
    error = refusal(mask_models(models, asked, Pool({"sees"})), asked, retry_after_s=5.0)
    assert isinstance(error, NoHealthyUpstreamError)
    assert error.headers() == [("retry-after", "5"), ("retry-after-ms", "5000")]


def test_an_empty_allow_list_is_a_403_whatever_else_is_wrong() -> None:
    asked = request(allowed_models=frozenset(), needs=frozenset({"image"}))
    error = refusal(mask_models([model("m")], asked, Pool({"m"})), asked, retry_after_s=5.0)
    assert isinstance(error, PermissionDeniedError)


def test_a_need_unmet_among_the_keys_models_says_that_it_is_the_key() -> None:
    asked = request(allowed_models=frozenset({"blind"}), needs=frozenset({"image"}))
    models = [model("blind"), model("sees", modalities=["text", "image"])]
    error = refusal(mask_models(models, asked, Pool()), asked, retry_after_s=5.0)
    assert isinstance(error, RequestError)
    assert error.message == "no model that this key may use takes images"


COSTS = ExpectedCosts("seconds", {"cheap": 1.0, "mid": 2.0, "dear": 4.0})
PRICED = [model("dear"), model("mid"), model("cheap"), model("unknown")]


@pytest.mark.parametrize(
    ("dial", "allowed"),
    [
        (Dial(), ("dear", "mid", "cheap", "unknown")),
        (Dial(max_cost=2.0), ("mid", "cheap")),
        (Dial(max_cost=3.0, key_max_cost=1.0), ("cheap",)),
        (Dial(max_cost=1.0, key_max_cost=3.0), ("cheap",)),
        (Dial(key_max_cost=100.0), ("dear", "mid", "cheap")),
        (Dial(max_cost=0.5), ()),
    ],
)
def test_the_lower_cap_excludes_what_is_dearer_or_of_unknown_cost(dial: Dial, allowed: tuple[str, ...]) -> None:
    masked = mask_models(PRICED, request(dial=dial), Pool(), COSTS)
    assert masked.allowed == allowed
    assert {entry.why for entry in masked.excluded} <= {"cost"}


def test_models_that_are_down_are_able_and_others_that_are_masked_are_not() -> None:
    masked = mask_models(PRICED, request(dial=Dial(max_cost=2.0)), Pool({"mid", "dear"}), COSTS)
    assert masked.why_not("dear") == "cost"
    assert sorted(masked.able) == ["cheap", "mid"]


def test_the_refusal_of_a_capped_request_names_the_cheapest_model_and_its_cost() -> None:
    asked = request(dial=Dial(max_cost=0.5, key_max_cost=1.0))
    masked = mask_models([*PRICED, model("blind", tools=False)], asked, Pool(), COSTS)
    error = refusal(masked, asked, retry_after_s=5.0, costs=COSTS)
    assert isinstance(error, RequestError)
    assert error.param == "x-gateway-max-cost"
    assert error.message == (
        "x-gateway-max-cost: this request may cost 0.5, and the cheapest model that could answer it, 'cheap', "
        "is expected to cost 1 seconds"
    )


def test_the_refusal_is_a_403_where_the_keys_own_cap_is_in_the_way() -> None:
    asked = request(dial=Dial(max_cost=0.1, key_max_cost=0.5))
    error = refusal(mask_models(PRICED, asked, Pool(), COSTS), asked, retry_after_s=5.0, costs=COSTS)
    assert isinstance(error, CostCapError)
    assert error.message.startswith("this key may spend 0.5 on a request, and the cheapest model")


def test_a_model_that_the_key_may_not_use_is_not_named_as_the_cheapest() -> None:
    asked = request(dial=Dial(max_cost=0.5), allowed_models=frozenset({"dear", "mid"}))
    error = refusal(mask_models(PRICED, asked, Pool(), COSTS), asked, retry_after_s=5.0, costs=COSTS)
    assert "'mid', is expected to cost 2" in error.message
    assert "cheap'" not in error.message


def test_a_cheap_model_that_is_down_makes_it_a_503() -> None:
    asked = request(dial=Dial(max_cost=1.0))
    error = refusal(mask_models(PRICED, asked, Pool({"cheap"}), COSTS), asked, retry_after_s=5.0, costs=COSTS)
    assert isinstance(error, NoHealthyUpstreamError)
