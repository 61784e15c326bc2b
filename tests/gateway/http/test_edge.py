"""Answers, headers and errors of the inference endpoints, on a real gateway before a real upstream."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_client import (
    BODIES,
    CHAT,
    STREAMING,
    chat,
    metric,
    model_section,
    request,
    running_gateway,
    settings_with,
)
from tests.support.mock_vllm import MockVllm
from tests.support.small_bundle import small_bundle


@pytest.mark.parametrize("path", BODIES)
def test_every_endpoint_reaches_its_place_upstream(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    answer = gateway.post(path, json=request(path))
    assert answer.status_code == 200
    assert mock_vllm.seen()[-1]["path"] == path
    assert answer.headers["x-gateway-model"] == "alpha"
    assert answer.headers["x-gateway-route-reason"] == "pinned"


@pytest.mark.parametrize("path", BODIES)
def test_auto_works_on_every_endpoint(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    answer = gateway.post(path, json=request(path, "auto"))
    assert answer.status_code == 200
    assert json.loads(mock_vllm.seen()[-1]["body"])["model"] == "alpha"
    assert answer.headers["x-gateway-route-reason"] in {"routed", "default"}


@pytest.mark.parametrize("path", STREAMING)
def test_streams_arrive_byte_for_byte(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    direct = httpx.post(mock_vllm.root_url + path, json=request(path, stream=True))
    through = gateway.post(path, json=request(path, stream=True))
    assert through.content == direct.content
    assert through.headers["content-type"].startswith("text/event-stream")
    assert through.headers["x-gateway-model"] == "alpha"


def test_fields_that_are_not_ours_pass_untouched(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """Spacing, number forms, order and unknown fields reach the upstream as the client wrote them."""
    theirs = '"messages": [ {"role":"user", "content":"\\u00e9 é"} ],"seed":1.0e2, "tools" : [],  "x": {"b":1,"a":[ ]}'
    gateway.post(CHAT, content=f'{{"model":"beta",{theirs}}}'.encode())
    body = mock_vllm.seen()[-1]["body"]
    assert body.startswith('{"model":"beta-upstream",')
    for value in ('[ {"role":"user", "content":"\\u00e9 é"} ]', "1.0e2", '{"b":1,"a":[ ]}'):
        assert value in body


def test_what_was_authorised_is_what_is_sent(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """F25: of keys written twice one is left, and the model among them is the one that answered."""
    body = b'{"model":"beta","messages":[],"stream":true,"model":"alpha","stream":false}'
    answer = gateway.post(CHAT, content=body)
    sent = mock_vllm.seen()[-1]["body"]
    assert sent.count('"model"') == 1
    assert sent.count('"stream"') == 1
    assert json.loads(sent)["model"] == answer.headers["x-gateway-model"] == "alpha"
    assert answer.headers["content-type"] == "application/json"


def test_headers_of_an_answer(gateway: httpx.Client) -> None:
    answer = gateway.post(CHAT, json=chat("auto"), headers={"x-request-id": "mine-1", "x-gateway-debug": "1"})
    headers = answer.headers
    assert headers["x-request-id"] == "mine-1"
    assert headers["x-gateway-route-reason"] == "routed"
    assert len(headers["x-gateway-decision-id"]) == 16
    assert float(headers["x-gateway-overhead-ms"]) > 0
    usage = answer.json()["usage"]
    cost = (usage["prompt_tokens"] * 10 + usage["completion_tokens"] * 100) / 1e6
    assert float(headers["x-gateway-cost"]) == pytest.approx(cost)
    assert headers["x-gateway-ranking"].startswith("alpha")
    assert "x-gateway-bundle" not in headers


def test_no_cost_without_a_price_and_no_ranking_unless_asked(gateway: httpx.Client) -> None:
    answer = gateway.post(CHAT, json=chat("beta"))
    assert "x-gateway-cost" not in answer.headers
    assert "x-gateway-ranking" not in answer.headers


def test_only_named_headers_go_upstream(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """F31: credentials, cookies and forwarding headers stay here; the replica's key is sent instead."""
    private = {
        "authorization": "Bearer client-key",
        "cookie": "session=1",
        "x-forwarded-for": "10.0.0.1",
        "x-api-key": "client-key",
        "proxy-authorization": "Basic eA==",
        "accept-encoding": "gzip",
        "traceparent": "00-11-22-01",
        "user-agent": "someone",
    }
    gateway.post(CHAT, json=chat("beta"), headers=private)
    seen = dict(mock_vllm.seen()[-1]["headers"])
    assert seen["authorization"] == "Bearer upstream-secret"
    assert seen["accept-encoding"] == "identity"
    assert seen["traceparent"] == "00-11-22-01"
    assert set(seen) <= {
        *("host", "accept", "content-type", "content-length", "accept-encoding"),
        *("x-request-id", "authorization", "traceparent"),
    }
    assert "client-key" not in str(seen)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "-leading", "né", "a;b"])
def test_an_unsafe_request_id_is_replaced(gateway: httpx.Client, mock_vllm: MockVllm, given: str) -> None:
    """F30: what could split a header or a log line is not repeated."""
    answer = gateway.post(CHAT, json=chat(), headers=[(b"x-request-id", given.encode("utf-8"))])
    fresh = answer.headers["x-request-id"]
    assert fresh != given
    assert dict(mock_vllm.seen()[-1]["headers"])["x-request-id"] == fresh


@pytest.mark.parametrize("model", ["alpha", "auto"])
@pytest.mark.parametrize("header", ["x-gateway-quality", "x-gateway-max-cost"])
def test_a_dial_that_is_no_number_is_a_400(gateway: httpx.Client, mock_vllm: MockVllm, header: str, model: str) -> None:
    answer = gateway.post(CHAT, json=chat(model), headers={header: "cheap"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", header, "invalid_request")
    assert header in error["message"]
    assert mock_vllm.seen() == []


def test_the_dial_by_header_end_to_end(tmp_path: Path, mock_vllm: MockVllm) -> None:
    """A features bundle thinks 0.9 of alpha and 0.2 of beta for a sum; alpha is ten times as dear."""
    bundle = small_bundle(tmp_path / "bundle", models=["llm-alpha", "llm-beta"])
    models = [
        model_section("alpha", mock_vllm, router_name="llm-alpha", seconds_per_token=0.1),
        model_section("beta", mock_vllm, router_name="llm-beta", seconds_per_token=0.01),
    ]
    router = {"bundle": str(bundle.path), "default_model": "beta", "cost_unit": "seconds"}
    body = chat("auto", messages=[{"role": "user", "content": "2 + 2 = ?"}], max_tokens=10)
    with running_gateway(settings_with(models, router=router)) as client:

        def asked(**headers: str) -> httpx.Response:
            return client.post(CHAT, json=body, headers={f"x-gateway-{name}": value for name, value in headers.items()})

        plain = asked(debug="1")
        assert plain.headers["x-gateway-ranking"] == "alpha=0.9000;cost=1, beta=0.2000;cost=0.1"
        assert plain.headers["x-gateway-novelty"] == "0.0000"
        assert plain.headers["x-gateway-confidence"] == "0.9000"
        assert plain.headers["x-gateway-bundle"] == bundle.digest[:12]
        turned = asked(quality="0.5")
        assert turned.headers["x-gateway-model"] == "beta"
        assert turned.headers["x-gateway-route-reason"] == "routed"
        assert "x-gateway-novelty" not in turned.headers
        assert asked(**{"max-cost": "0.5"}).headers["x-gateway-model"] == "beta"
        refused = asked(**{"max-cost": "0.05"})
        assert refused.status_code == 400
        assert "'beta', is expected to cost 0.1 seconds" in refused.json()["error"]["message"]
        # Scored once; dials are turned on what was kept.
        assert metric(client, "gateway_overhead_seconds_count", stage="score") == 1
        assert metric(client, "gateway_decision_cache_total", result="hit") == 2
    seen = [name for request in mock_vllm.seen() for name, _ in request["headers"]]
    assert not [name for name in seen if name.startswith("x-gateway")]


def test_get_on_an_inference_path_is_405(gateway: httpx.Client) -> None:
    answer = gateway.get(CHAT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["x-request-id"]


def test_a_model_that_is_not_served_is_404(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    answer = gateway.post(CHAT, json=chat("../../etc/passwd"))
    assert answer.status_code == 404
    assert answer.json()["error"] | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert mock_vllm.seen() == []


BAD_BODIES = {
    "empty": b"",
    "array": b"[]",
    "null": b"null",
    "string": b'"x"',
    "truncated": b'{"model":"alpha"',
    "trailing": b'{"model":"alpha"} x',
    "nan": b'{"model":"alpha","temperature":NaN}',
    "infinity": b'{"model":"alpha","x":[Infinity]}',
    "bad utf-8": b'{"model":"alpha","messages":"\xff"}',
    "bad utf-8 in a key": b'{"model":"alpha","\xff":1}',
    "utf-16": '{"model":"alpha"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"model":"alpha"}',
    "surrogate": b'{"model":"alpha","messages":[{"content":"\\ud800"}]}',
    "deep array": b'{"model":"alpha","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep object": b'{"model":"alpha","x":' + b'{"a":' * 8_000 + b"1" + b"}" * 8_000 + b"}",
    "no model": b'{"messages":[]}',
    "empty model": b'{"model":""}',
    "null model": b'{"model":null}',
    "number as model": b'{"model":7}',
    "list as model": b'{"model":["alpha"]}',
    "huge number as model": b'{"model":1e400}',
    "huge integer as stream": b'{"model":"alpha","stream":' + b"9" * 5000 + b"}",
    "text as stream": b'{"model":"alpha","stream":"true"}',
    "routed without a list": b'{"model":"auto","messages":7}',
    "routed, bad text": b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_bodies_are_400_in_openais_shape(gateway: httpx.Client, mock_vllm: MockVllm, body: bytes) -> None:
    """F24, F26, F27: whatever the body is, the answer is a 400 that says so, and no model is asked."""
    answer = gateway.post(CHAT, content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"]
    assert mock_vllm.seen() == []


UPSTREAM_ERRORS = {
    400: (400, "BadRequestError"),
    401: (502, "upstream_error"),
    403: (502, "upstream_error"),
    404: (404, "BadRequestError"),
    413: (413, "BadRequestError"),
    422: (400, "BadRequestError"),
    429: (429, "BadRequestError"),
    302: (502, "upstream_error"),
    500: (502, "upstream_error"),
    501: (502, "upstream_error"),
    502: (502, "upstream_error"),
    503: (503, "upstream_error"),
    504: (502, "upstream_error"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", UPSTREAM_ERRORS)
def test_upstream_errors(gateway: httpx.Client, mock_vllm: MockVllm, status: int, stream: bool) -> None:
    """F11: refusals pass, everything else becomes 502 or 503 without the server's words; retry-after is kept."""
    mock = {"status": status, "error_headers": {"retry-after": "7", "set-cookie": "a=b", "x-internal": "host-1"}}
    answer = gateway.post(CHAT, json=chat("beta", stream=stream, mock=mock))
    expected, kind = UPSTREAM_ERRORS[status]
    assert answer.status_code == expected
    assert answer.json()["error"]["type"] == kind
    if kind == "upstream_error":
        assert "as asked" not in answer.text
        assert "upstream-secret" not in answer.text
        assert mock_vllm.root_url.removeprefix("http://") not in answer.text
    if status in {429, 500, 503}:
        assert answer.headers["retry-after"] == "7"
    assert not {"set-cookie", "x-internal"} & set(answer.headers)
    assert answer.headers["x-gateway-model"] == "beta"


REFUSALS = {
    "old vllm": ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long"),
    "fastapi text": ({"detail": "Not Found"}, "Not Found"),
    "fastapi list": ({"detail": [{"loc": ["body", "n"], "msg": "too big"}]}, "body.n: too big"),
    "error text": ({"error": "nope"}, "nope"),
    "html": ("<html>secret path</html>", "the model's server refused the request with status 400"),
    "list": ([1], "the model's server refused the request with status 400"),
}


@pytest.mark.parametrize(("body", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_of_any_shape_come_out_nested(gateway: httpx.Client, body: object, message: str) -> None:
    answer = gateway.post(CHAT, json=chat(mock={"status": 400, "error_body": body}))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == message


def test_requests_are_counted_by_how_they_ended(mock_vllm: MockVllm) -> None:
    with running_gateway(settings_with([model_section("alpha", mock_vllm)])) as client:
        client.post(CHAT, json=chat("auto"))
        client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}))
        client.post(CHAT, json=chat(mock={"status": 400}))
        client.post(CHAT, json=chat(mock={"status": 500}))
        client.post(CHAT, json=chat(stream=True, mock={"truncate_at_chunk": 1}))
        client.post(CHAT, json=chat("made-up-" + "x" * 50))
        count = {
            outcome: metric(client, "gateway_requests_total", outcome=outcome)
            for outcome in ("ok", "client_error", "upstream_error", "stream_error")
        }
        assert count == {"ok": 2, "client_error": 2, "upstream_error": 1, "stream_error": 1}
        assert metric(client, "gateway_decisions_total", reason="routed") == 1
        assert metric(client, "gateway_decisions_total", reason="pinned") == 4
        assert metric(client, "gateway_tokens_total", model="alpha", direction="output") == 8
        assert metric(client, "gateway_time_to_first_token_seconds_count", model="alpha") == 2
        assert metric(client, "gateway_overhead_seconds_count", stage="parse") == 6
        assert "made-up" not in client.get("/metrics").text
