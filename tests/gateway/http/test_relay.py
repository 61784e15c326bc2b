"""Streams and answers of upstreams that break: never silent, never an end marker after an error."""

import json

import httpx
import pytest

from tests.support.gateway_client import (
    CHAT,
    STREAMING,
    chat,
    metric,
    model_section,
    pieces,
    request,
    running_gateway,
    settings_with,
)
from tests.support.mock_vllm import MockVllm, running_mock_vllm

EVENT = b'data: {"choices":[{"delta":{"content":"caf\xc3\xa9"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
BREAKS = {
    "F05 dies": ({"die_at_chunk": 2}, "upstream_broken_answer"),
    "F06 ends early": ({"truncate_at_chunk": 2}, "upstream_broken_answer"),
    "F09 stalls": ({"stall_at_chunk": 2}, "upstream_idle_timeout"),
}


def error_of(text: str) -> dict[str, str]:
    """The error in the last event of a stream."""
    last = text.strip().split("\n\n")[-1]
    assert last.startswith("data: ")
    return dict(json.loads(last.removeprefix("data: "))["error"])


@pytest.mark.parametrize("path", STREAMING)
@pytest.mark.parametrize(("mock", "code"), BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_stream_ends_in_an_error_event(
    gateway: httpx.Client, path: str, mock: dict[str, int], code: str
) -> None:
    """F05, F06, F09 on every endpoint that streams: what came is relayed, then the error, then nothing."""
    answer = gateway.post(path, json=request(path, stream=True, mock=mock))
    assert answer.status_code == 200
    assert error_of(answer.text)["code"] == code
    assert answer.text.count("data: ") == 3
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize(
    ("mock", "status", "code"),
    [
        ({"die_at_chunk": 0}, 502, "upstream_broken_answer"),
        ({"truncate_at_chunk": 0}, 502, "upstream_broken_answer"),
        ({"stall_at_chunk": 0}, 504, "upstream_first_byte_timeout"),
    ],
)
def test_before_the_first_event_it_is_an_http_error(
    gateway: httpx.Client, mock: dict[str, int], status: int, code: str
) -> None:
    answer = gateway.post(CHAT, json=chat(stream=True, mock=mock))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-gateway-model"] == "alpha"


def test_an_upstream_killed_in_mid_stream(mock_vllm: MockVllm) -> None:
    """F05: kill -9 of the engine's process."""
    with (
        running_mock_vllm() as engine,
        running_gateway(settings_with([model_section("alpha", engine)])) as client,
        client.stream("POST", CHAT, json=chat(stream=True, mock={"chunks": 50, "chunk_delay_s": 0.05})) as answer,
    ):
        text = ""
        for part in answer.iter_text():
            text += part
            if engine.process.poll() is None:
                engine.kill()
        assert error_of(text)["code"] == "upstream_broken_answer"


BODIES = {
    "split UTF-8": [EVENT[:40], EVENT[40:41], EVENT[41:42], EVENT[42:], DONE],
    "byte by byte": [bytes([byte]) for byte in EVENT + DONE],
    "two events in one write": [EVENT + EVENT + DONE],
    "CRLF": [(EVENT + DONE).replace(b"\n", b"\r\n")],
    "comments": [b": keep-alive\n\n", EVENT, b": keep-alive\n\n", DONE],
    "not JSON": [b"data: not json\n\n", EVENT, DONE],
    "extra fields": [b"id: 1\nretry: 5\nevent: chunk\n" + EVENT, DONE],
    "usage on a chunk with choices": [EVENT[:-3] + b',"usage":{"prompt_tokens":1}}\n\n', DONE],
}


@pytest.mark.parametrize("writes", BODIES.values(), ids=BODIES.keys())
def test_odd_streams_pass_intact(gateway: httpx.Client, writes: list[bytes]) -> None:
    """F10: what is legal, if unusual, arrives byte for byte."""
    answer = gateway.post(CHAT, json=chat(stream=True, mock=pieces(*writes)))
    assert answer.status_code == 200
    assert answer.content == b"".join(writes)


def test_an_end_marker_without_its_blank_line_is_completed(gateway: httpx.Client) -> None:
    answer = gateway.post(CHAT, json=chat(stream=True, mock=pieces(EVENT, b"data: [DONE]\n")))
    assert answer.content == EVENT + b"data: [DONE]\n\n\n"


@pytest.mark.parametrize("writes", [[EVENT, b"data: " + b"x" * 9000], [EVENT, b"data: x\n" * 2000]])
def test_an_endless_event_is_cut(gateway: httpx.Client, writes: list[bytes]) -> None:
    """F10: a line without end, and events without blank lines between them."""
    answer = gateway.post(CHAT, json=chat(stream=True, mock=pieces(*writes)))
    assert answer.content.startswith(EVENT)
    assert "4096 bytes" in error_of(answer.text)["message"]


@pytest.mark.parametrize("more", [{"content_type": "text/html"}, {"content_type": "application/json"}])
def test_a_200_that_is_no_event_stream_is_502(gateway: httpx.Client, more: dict[str, str]) -> None:
    """F10: HTML with status 200."""
    answer = gateway.post(CHAT, json=chat(stream=True, mock=pieces(b"<html>secret</html>") | more))
    assert answer.status_code == 502
    assert "secret" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_is_refused(gateway: httpx.Client, stream: bool) -> None:
    """F20: nothing is unpacked."""
    answer = gateway.post(CHAT, json=chat(stream=stream, mock={"content_encoding": "gzip"}))
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_broken_answer"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/tokenize"])
@pytest.mark.parametrize(
    ("mock", "status", "code"),
    [
        ({"die_at_chunk": 1}, 502, "upstream_broken_answer"),
        ({"stall_at_chunk": 1}, 504, "upstream_idle_timeout"),
        (pieces(b"<html>"), 502, "upstream_broken_answer"),
        (pieces(b'{"a":'), 502, "upstream_broken_answer"),
        (pieces(b"[1]"), 502, "upstream_broken_answer"),
    ],
)
def test_a_broken_whole_answer_is_an_error(
    gateway: httpx.Client, path: str, mock: dict[str, object], status: int, code: str
) -> None:
    answer = gateway.post(path, json=request(path, "beta", mock={**mock, "content_type": "application/json"}))
    if answer.status_code == 200:
        # A short answer that fits into its first chunk never reaches the fault.
        assert path == "/tokenize"
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_answer_over_the_cap_is_refused(gateway: httpx.Client) -> None:
    body = b'{"a":"' + b"x" * 9000 + b'"}'
    answer = gateway.post(CHAT, json=chat(mock={**pieces(body), "content_type": "application/json"}))
    assert answer.status_code == 502
    assert "8192 bytes" in answer.json()["error"]["message"]


def test_an_error_event_of_the_upstream_itself_counts_as_a_stream_error(gateway: httpx.Client) -> None:
    before = metric(gateway, "gateway_requests_total", outcome="stream_error")
    writes = [EVENT, b'data: {"error":{"message":"engine died"}}\n\n', DONE]
    answer = gateway.post(CHAT, json=chat(stream=True, mock=pieces(*writes)))
    assert answer.content == b"".join(writes)
    assert metric(gateway, "gateway_requests_total", outcome="stream_error") == before + 1


LATE = pieces(EVENT, DONE, b": late\n\n")


def test_a_client_does_not_wait_for_what_follows_the_end_marker(
    mock_vllm: MockVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the client's patience.
    monkeypatch.setattr("gateway.http.relay.END_OF_BODY_TIMEOUT_S", 60.0)
    with running_gateway(settings_with([model_section("alpha", mock_vllm)])) as gateway:
        answer = gateway.post(CHAT, json=chat(stream=True, mock={**LATE, "stall_at_chunk": 2}))
        assert answer.content == EVENT + DONE


def test_the_end_of_the_body_is_waited_for_after_the_clients(mock_vllm: MockVllm) -> None:
    """So that the connection can be used again, whether the client has left or not."""
    with running_gateway(settings_with([model_section("alpha", mock_vllm)])) as gateway:
        answer = gateway.post(CHAT, json=chat(stream=True, mock={**LATE, "chunk_delay_s": 0.1}))
        assert answer.content == EVENT + DONE
        seen = mock_vllm.wait_until(lambda seen: seen["finished"] or seen["caller_left_after_s"] is not None)
        assert seen["finished"]
