"""What the gateway reads of a body, and that it leaves the rest alone."""

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.base import ANONYMOUS, Principal
from gateway.errors import MalformedBodyError, RequestError
from gateway.http.endpoints import ENDPOINTS
from gateway.http.peek import peek, routing_request
from gateway.routing.base import Dial, RoutingRequest

CHAT = "/v1/chat/completions"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
SPACED = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


@given(fields=st.dictionaries(st.text(), JSON, max_size=5), separators=SPACED, is_ascii=st.booleans())
def test_other_values_keep_their_bytes(fields: dict[str, Any], separators: tuple[str, str], is_ascii: bool) -> None:
    fields = {name: value for name, value in fields.items() if name not in {"model", "stream"}}
    written = {name: json.dumps(value, separators=separators, ensure_ascii=is_ascii) for name, value in fields.items()}
    members = [f"{json.dumps(name)} :{value}" for name, value in written.items()]
    body = ("{" + ",".join(['"model":"auto"', *members]) + "}").encode("utf-8", "surrogatepass")
    try:
        seen = peek(body)
    except MalformedBodyError:
        # Lone surrogates are the only thing that this document may hold and JSON may not.
        assert any(0xD800 <= ord(letter) <= 0xDFFF for letter in str(fields))
        return
    assert {name: bytes(raw).decode() for name, raw in seen.fields.items() if name != "model"} == written
    assert json.loads(seen.body_for("other")) == {"model": "other", **fields}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","stream":true}',
        b'{ "messages" : [ {"role": "user", "content": "of a model"} ],\n "model" : "a" }',
        '{"model": "a", "user": "é", "größe": 1}'.encode(),
    ],
)
def test_a_body_whose_model_keeps_its_name_travels_as_it_came(body: bytes) -> None:
    assert peek(body).body_for("a") == body
    assert json.loads(peek(body).body_for("b")) == {**json.loads(body), "model": "b"}


@given(fields=st.dictionaries(st.text(), JSON, max_size=5), separators=SPACED, is_ascii=st.booleans())
def test_the_body_that_is_sent_says_what_came(
    fields: dict[str, Any], separators: tuple[str, str], is_ascii: bool
) -> None:
    given = {"model": "a", **{name: value for name, value in fields.items() if name not in {"model", "stream"}}}
    body = json.dumps(given, separators=separators, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    with contextlib.suppress(MalformedBodyError):
        assert json.loads(peek(body).body_for("a")) == given


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"b","model":"a"}',
        b'{"model": "a", "max_tokens": 1, "max_tokens": 9}',
        b'{"\\u006dodel":"b","model":"a"}',
        b'{"model":"b","m\\u006Fdel":"a"}',
        b'{"model":"a","text":"' + b"x" * 70_000 + b'","model":"a"}',
    ],
)
def test_a_key_that_may_stand_twice_is_sent_once(body: bytes) -> None:
    pairs = json.loads(peek(body).body_for("a"), object_pairs_hook=list)
    assert len(dict(pairs)) == len(pairs)
    assert dict(pairs) == json.loads(body)
    assert dict(pairs)["model"] == "a"


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert peek(body).model


def read(path: str = CHAT, principal: Principal = ANONYMOUS, **fields: Any) -> RoutingRequest:
    seen = peek(json.dumps({"model": "auto", **fields}).encode())
    headers = {"x-session-id": "s-1"}
    return routing_request(seen, ENDPOINTS[path], principal, headers, is_routed=True)


USER = {"role": "user", "content": "What is 2 + 2?"}


@pytest.mark.parametrize(
    ("path", "fields", "ask"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "Be brief."}, USER]}, "What is 2 + 2?"),
        (CHAT, {"messages": []}, ""),
        (CHAT, {"messages": [7, {"role": "user", "content": {"a": 1}}]}, ""),
        (CHAT, {}, None),
        (CHAT, {"messages": 7}, None),
        ("/v1/completions", {"prompt": "Once"}, "Once"),
        ("/v1/completions", {"prompt": ["Once", "Twice"]}, "Once"),
        ("/v1/completions", {"prompt": [1, 2, 3]}, ""),
        ("/v1/completions", {}, ""),
        ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, "Hi"),
        ("/v1/responses", {"input": "Hi"}, "Hi"),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}, "Hi"),
        ("/v1/embeddings", {"input": "Hi"}, ""),
        ("/rerank", {"query": "Hi"}, ""),
    ],
)
def test_the_ask(path: str, fields: dict[str, Any], ask: str | None) -> None:
    if ask is None:
        with pytest.raises(RequestError, match="`messages` must be a list"):
            read(path, **fields)
    else:
        assert read(path, **fields).ask == ask


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"response_format": {"type": "json_schema"}}, {"structured_output"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"guided_json": {"type": "object"}}, {"structured_output"}),
        ({"structured_outputs": {"regex": "a"}}, {"structured_output"}),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, {"image"}),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}, {"type": "text"}]}]}, {"audio"}),
    ],
)
def test_what_a_model_must_be_able_to_do(fields: dict[str, Any], needs: set[str]) -> None:
    assert read(**{"messages": [USER], **fields}).needs == needs


def test_length_limits_session_and_key() -> None:
    principal = Principal(key_id="k", allowed_models=frozenset({"alpha"}))
    messages = [{"role": "system", "content": "x" * 400}, {"role": "user", "content": "y" * 40}]
    request = read(principal=principal, messages=messages, max_tokens=16)
    assert (request.prompt_tokens, request.max_tokens) == (110, 16)
    assert (request.session_id, request.key_id, request.allowed_models) == ("s-1", "k", frozenset({"alpha"}))
    assert read(messages=messages, max_completion_tokens=9, max_tokens=16).max_tokens == 9
    assert read(messages=messages, max_output_tokens=9, max_tokens=16).max_tokens == 16
    assert read("/v1/completions", prompt="x", max_completion_tokens=9, max_tokens=16).max_tokens == 16
    assert read("/v1/messages", messages=messages, max_completion_tokens=9).max_tokens is None
    assert read("/v1/responses", input="x", max_output_tokens=9, max_tokens=1).max_tokens == 9
    assert read(messages=messages, max_tokens=True).max_tokens is None
    assert read(messages=messages, max_tokens=-1).max_tokens is None


def test_the_text_of_a_pinned_request_is_not_read() -> None:
    seen = peek(b'{"model":"alpha","messages":7}')
    assert routing_request(seen, ENDPOINTS[CHAT], ANONYMOUS, {}, is_routed=False).ask == ""
    assert routing_request(seen, ENDPOINTS[CHAT], ANONYMOUS, {"x-gateway-quality": "0.5"}, is_routed=False).ask == ""


def test_the_text_of_a_pinned_request_with_a_cap_is_measured() -> None:
    seen = peek(json.dumps({"model": "alpha", "messages": [{**USER, "content": "x" * 400}], "max_tokens": 7}).encode())
    capped = Principal(key_id="k", max_cost=1.0)
    for principal, headers in ((capped, {}), (ANONYMOUS, {"x-gateway-max-cost": "1"})):
        request = routing_request(seen, ENDPOINTS[CHAT], principal, headers, is_routed=False)
        assert (request.prompt_tokens, request.max_tokens, request.dial.cap) == (100, 7, 1.0)
    with pytest.raises(RequestError, match="must be a list"):
        routing_request(peek(b'{"model":"alpha","messages":7}'), ENDPOINTS[CHAT], capped, {}, is_routed=False)


@pytest.mark.parametrize(
    ("path", "fields", "measured"),
    [
        (CHAT, {"messages": [USER]}, (3, 0, 1)),
        (CHAT, {"messages": [USER], "n": 4}, (3, 0, 4)),
        (CHAT, {"messages": [USER], "n": True}, (3, 0, 1)),
        ("/v1/completions", {"prompt": "x" * 40}, (10, 0, 1)),
        ("/v1/completions", {"prompt": ["x" * 40, "y" * 400], "n": 2, "best_of": 3}, (10, 100, 6)),
        ("/v1/completions", {"prompt": [1, 2, 3]}, (3, 0, 1)),
        ("/v1/completions", {"prompt": [[1, 2, 3], [4, 5]]}, (3, 2, 2)),
        ("/v1/completions", {"prompt": []}, (0, 0, 1)),
        ("/v1/completions", {"prompt": [{"a": 1}, None]}, (4, 0, 1)),
    ],
)
def test_what_an_answer_is_expected_to_take(path: str, fields: dict[str, Any], measured: tuple[int, int, int]) -> None:
    request = read(path, **fields)
    assert (request.prompt_tokens, request.further_prompt_tokens, request.answers) == measured


@pytest.mark.parametrize("name", ["n", "max_tokens"])
def test_a_count_beyond_reason_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=f"`{name}` is beyond") as refused:
        read(messages=[USER], **{name: 10**400})
    assert refused.value.param == name


# Built in full, each is some hundred thousand objects.
MANY = b",".join([b"[[]]"] * 200_000)


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (CHAT, "messages", b"[" + MANY + b"]"),
        (CHAT, "messages", b'[{"role":"user","content":[' + MANY + b"]}]"),
        (CHAT, "messages", b'[{"role":"user","content":[{"type":"text","text":[' + MANY + b"]}]}]"),
        (CHAT, "messages", b"[" + b",".join([b"{}"] * 200_000) + b"]"),
        ("/v1/completions", "prompt", b"[" + MANY + b"]"),
        ("/v1/completions", "prompt", b"[" + b",".join([b"[1]"] * 200_000) + b"]"),
        (CHAT, "tools", b"[" + MANY + b"]"),
        (CHAT, "response_format", b'{"type":"json_schema","schema":[' + MANY + b"]}"),
    ],
    ids=["messages", "content", "text", "objects", "prompt", "token ids", "tools", "response format"],
)
def test_a_body_of_rubble_is_not_built(path: str, field: str, value: bytes) -> None:
    other = b'"messages":[],' if field in ("tools", "response_format") else b""
    seen = peek(b'{"model":"auto",' + other + b'"%s":%s}' % (field.encode(), value))
    tracemalloc.start()
    try:
        request = routing_request(seen, ENDPOINTS[path], ANONYMOUS, {}, is_routed=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert request.ask == ""
    assert request.prompt_tokens == (0 if other else len(value) // 4)
    assert peak < 3 * len(value)


def test_endpoints_that_generate_nothing_are_not_capped() -> None:
    capped = Principal(key_id="k", quality=0.5, max_cost=1.0)
    assert read("/v1/embeddings", capped, input="x").dial == Dial()
    with pytest.raises(RequestError, match="x-gateway-quality"):
        routing_request(
            peek(b'{"model":"auto"}'), ENDPOINTS["/rerank"], capped, {"x-gateway-quality": "2"}, is_routed=True
        )
