from typing import Any

import pytest

from gateway.errors import NoHealthyUpstreamError, PermissionDeniedError, RequestError
from gateway.routing.base import RoutingRequest
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
