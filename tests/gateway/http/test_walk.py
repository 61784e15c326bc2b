"""Which model is asked when another cannot be, and which is never asked twice."""

import json
import time

import httpx
import pytest

from tests.support.gateway_client import CHAT, chat, metric, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm, free_port, running_mock_vllm

NEVER_AGAIN = {"health_interval_s": 3600}


def dead_section(name: str) -> dict[str, object]:
    return {"name": name, "replicas": [{"base_url": f"http://127.0.0.1:{free_port()}/v1"}]}


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"status": 503}, {"die_before_head": True}], ids=["502", "503", "F07 dies"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_next_candidate_answers(mock_vllm: MockVllm, fault: dict[str, object], stream: bool) -> None:
    """F07: before the first byte another model is asked, once, under its own name; the headers say so."""
    with running_mock_vllm() as second:
        models = [
            model_section("alpha", mock_vllm),
            model_section("beta", second, upstream_name="beta-upstream"),
        ]
        mock_vllm.behave(**fault)
        with running_gateway(settings_with(models)) as gateway:
            answer = gateway.post(CHAT, json=chat("auto", stream=stream))
            assert answer.status_code == 200
            assert answer.headers["x-gateway-model"] == "beta"
            assert answer.headers["x-gateway-route-reason"] == "fallback"
            assert metric(gateway, "gateway_decisions_total", model="beta", reason="fallback") == 1
        asked = [json.loads(seen["body"])["model"] for seen in mock_vllm.seen()]
        # Twice where it looked like an idle connection that had been closed, as dying on a used one does.
        assert asked == ["alpha"] or ("die_before_head" in fault and asked == ["alpha", "alpha"])
        assert [json.loads(seen["body"])["model"] for seen in second.seen()] == ["beta-upstream"]


def test_a_model_that_dies_between_checks_is_passed_over(mock_vllm: MockVllm) -> None:
    """Its first request finds out, and later ones do not try it at all."""
    with running_mock_vllm() as first:
        models = [model_section("alpha", first), model_section("beta", mock_vllm)]
        with running_gateway(settings_with(models, upstream=NEVER_AGAIN)) as gateway:
            assert gateway.post(CHAT, json=chat("auto")).headers["x-gateway-model"] == "alpha"
            first.kill()
            for _ in range(2):
                answer = gateway.post(CHAT, json=chat("auto"))
                assert answer.headers["x-gateway-model"] == "beta"
            assert not gateway.get("/readyz").json()["models"]["alpha"]


def test_another_replica_of_the_same_model_is_no_fallback(mock_vllm: MockVllm) -> None:
    with running_mock_vllm() as other:
        mock_vllm.behave(status=503)
        with running_gateway(settings_with([model_section("alpha", mock_vllm, other)])) as gateway:
            for _ in range(2):
                answer = gateway.post(CHAT, json=chat())
                assert answer.status_code == 200
                assert answer.headers["x-gateway-route-reason"] == "pinned"


@pytest.mark.parametrize(
    "fault",
    [
        {"latency_s": 30},
        {"stall_at_chunk": 0},
        {"status": 500},
        {"latency_s": 1.2, "die_before_head": True},
        {"latency_s": 1.2, "status": 502},
    ],
)
def test_what_may_have_been_generated_is_not_asked_for_again(mock_vllm: MockVllm, fault: dict[str, object]) -> None:
    """A deadline after sending, a 500, and the loss of a server that has worked for a while: no double generation."""
    with running_mock_vllm() as second:
        models = [model_section("alpha", mock_vllm), model_section("beta", second)]
        upstream = {"first_byte_timeout_s": 2.0, "idle_timeout_s": 1.0}
        with running_gateway(settings_with(models, upstream=upstream)) as gateway:
            answer = gateway.post(CHAT, json=chat("auto", stream=True, mock=fault))
            assert answer.status_code in {502, 504}
            assert answer.headers["x-gateway-model"] == "alpha"
            assert "x-should-retry" not in answer.headers
        assert second.seen() == []
        assert len(mock_vllm.seen()) == 1


def test_a_pinned_model_has_no_other(mock_vllm: MockVllm) -> None:
    with running_mock_vllm() as first:
        models = [model_section("alpha", first), model_section("beta", mock_vllm)]
        with running_gateway(settings_with(models, upstream=NEVER_AGAIN)) as gateway:
            first.kill()
            answer = gateway.post(CHAT, json=chat("alpha"))
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_unreachable"
            answer = gateway.post(CHAT, json=chat("alpha"))
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "no_healthy_upstream"
        assert mock_vllm.seen() == []


def test_when_every_candidate_fails_the_client_need_not_retry(mock_vllm: MockVllm) -> None:
    """Official clients retry 5xx by themselves: the header keeps that from multiplying with ours."""
    models = [model_section("alpha", mock_vllm), model_section("beta", mock_vllm)]
    mock_vllm.behave(status=503, error_headers={"retry-after": "9"})
    with running_gateway(settings_with(models)) as gateway:
        answer = gateway.post(CHAT, json=chat("auto"))
        assert answer.status_code == 503
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["retry-after"] == "9"
        assert answer.headers["x-gateway-route-reason"] == "fallback"
    assert len(mock_vllm.seen()) == 2


@pytest.mark.parametrize("model", ["auto", "alpha"])
def test_all_down(model: str) -> None:
    """F12: the answer is at once, and says when to come back."""
    with running_gateway(settings_with([dead_section("alpha"), dead_section("beta")])) as gateway:
        answer = gateway.post(CHAT, json=chat(model))
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_healthy_upstream"
        assert int(answer.headers["retry-after"]) >= 1
        assert int(answer.headers["retry-after-ms"]) >= 1


def test_a_model_comes_back_with_its_health(mock_vllm: MockVllm) -> None:
    mock_vllm.behave(healthy=False)
    with running_gateway(settings_with([model_section("alpha", mock_vllm)], upstream={"health_interval_s": 0.1})) as up:
        assert up.get("/readyz").status_code == 503
        assert up.post(CHAT, json=chat()).status_code == 503
        mock_vllm.behave()
        wait_until_ready(up)
        assert up.post(CHAT, json=chat()).status_code == 200


def wait_until_ready(gateway: httpx.Client) -> None:
    deadline = time.monotonic() + 20
    while gateway.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
