"""The response cache of a whole gateway: what a client sees, and how often the model is asked. F15, F44."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.__main__ import main
from gateway.app import build_app
from gateway.settings import Settings
from gateway.settings_file import load_settings
from gateway.state.memory import MemoryState
from router_core.decisions import read_decisions
from tests.support.eventually import eventually
from tests.support.gateway_client import (
    BODIES,
    CHAT,
    STREAMING,
    chat,
    metric,
    model_section,
    pieces,
    request,
    running_gateway,
    sent_raw,
    settings_with,
)
from tests.support.mock_vllm import MockVllm, running_mock_vllm
from tests.support.redis_server import RedisServer
from tests.support.settings import write_settings

PRICE = {"input_per_million_tokens": 10, "output_per_million_tokens": 100}
CACHED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


def open_settings(mock: MockVllm, **sections: Any) -> Settings:
    """Nobody needs a key, and everybody's answers are kept."""
    models = [model_section("alpha", mock, price=PRICE), model_section("beta", mock)]
    return settings_with(models, **{"cache": {"keys": ["anonymous"]}, **sections})


@pytest.fixture
def client(mock_vllm: MockVllm) -> Iterator[httpx.Client]:
    with running_gateway(open_settings(mock_vllm)) as client:
        yield client


def ask(client: httpx.Client, body: dict[str, Any], path: str = CHAT, **headers: str) -> httpx.Response:
    return client.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


def told(answer: httpx.Response) -> str:
    return answer.headers.get("x-gateway-cache", "")


def stored(client: httpx.Client, count: int) -> None:
    """Wait until so many answers are stored."""

    async def are_stored() -> bool:
        return metric(client, "gateway_response_cache_total", result="stored") == count

    asyncio.run(eventually(are_stored))


@pytest.mark.parametrize("path", CACHED)
def test_a_repeated_request_is_answered_without_the_model(client: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    first = ask(client, request(path), path)
    stored(client, 1)
    second = ask(client, dict(reversed(request(path, user="other").items())), path)
    assert (told(first), told(second)) == ("miss", "hit")
    assert second.content == first.content
    assert second.status_code == 200
    assert second.headers["content-type"] == "application/json"
    assert second.headers["x-gateway-model"] == "alpha"
    assert second.headers["x-gateway-route-reason"] == "pinned"
    assert second.headers["x-gateway-decision-id"] != first.headers["x-gateway-decision-id"]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(mock_vllm.seen()) == 1


@pytest.mark.parametrize("path", [path for path in STREAMING if path in CACHED])
@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}])
def test_a_stream_is_replayed_to_the_byte(
    client: httpx.Client, mock_vllm: MockVllm, path: str, more: dict[str, Any]
) -> None:
    body = request(path, stream=True, mock={"chunks": 30}, **more)
    first = ask(client, body, path)
    stored(client, 1)
    second = ask(client, body, path)
    assert (told(first), told(second)) == ("miss", "hit")
    assert second.content == first.content
    assert second.content.endswith(b"data: [DONE]\n\n")
    assert second.headers["content-type"] == first.headers["content-type"]
    assert len(mock_vllm.seen()) == 1


def test_the_official_client_reads_a_replayed_stream(client: httpx.Client, mock_vllm: MockVllm) -> None:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as official:
        texts = []
        for _ in range(2):
            chunks = official.chat.completions.create(
                model="alpha", messages=[{"role": "user", "content": "count to three"}], stream=True
            )
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
            stored(client, 1)
    assert texts[0] == texts[1]
    assert "count to three" in texts[0]
    assert len(mock_vllm.seen()) == 1


def test_a_stream_and_a_whole_answer_are_two(client: httpx.Client, mock_vllm: MockVllm) -> None:
    for body in (chat(), chat(stream=True), chat(stream=True, stream_options={"include_usage": True}), chat(n=1)):
        assert told(ask(client, body)) == "miss"
    assert len(mock_vllm.seen()) == 4


def test_what_routing_chose_is_what_counts(client: httpx.Client, mock_vllm: MockVllm) -> None:
    assert told(ask(client, chat("auto"))) == "miss"
    stored(client, 1)
    pinned, routed = ask(client, chat("alpha")), ask(client, chat("auto"))
    assert (told(pinned), told(routed)) == ("hit", "hit")
    assert routed.headers["x-gateway-route-reason"] == "routed"
    assert told(ask(client, chat("beta"))) == "miss"


@pytest.mark.parametrize("path", sorted(BODIES.keys() - set(CACHED)))
def test_other_endpoints_know_no_cache(client: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    for _ in range(2):
        assert told(ask(client, request(path), path)) == ""
    assert len(mock_vllm.seen()) == 2


def test_a_request_may_stay_away_or_ask_afresh(client: httpx.Client, mock_vllm: MockVllm) -> None:
    assert told(ask(client, chat(), cache_control="no-store")) == ""
    assert told(ask(client, chat())) == "miss"
    stored(client, 1)
    assert told(ask(client, chat(), cache_control="no-store")) == ""
    assert told(ask(client, chat(), cache_control="no-cache")) == "miss"
    stored(client, 2)
    assert told(ask(client, chat())) == "hit"
    assert len(mock_vllm.seen()) == 4


FAULTS: list[tuple[bool, dict[str, Any]]] = [
    (False, {"status": 400}),
    (False, {"status": 500}),
    (False, {"status": 201}),
    (True, {"die_at_chunk": 2}),
    (True, {"truncate_at_chunk": 2}),
    (True, {"status": 429}),
]


@pytest.mark.parametrize(("stream", "mock"), FAULTS)
def test_only_complete_answers_are_kept(
    client: httpx.Client, mock_vllm: MockVllm, stream: bool, mock: dict[str, Any]
) -> None:
    """The fault is the model's own mood, not part of the request: the same request is well served afterwards."""
    body = chat(stream=stream)
    mock_vllm.behave(**mock)
    ask(client, body)
    mock_vllm.behave()
    answer = ask(client, body)
    assert (answer.status_code, told(answer)) == (200, "miss")
    stored(client, 1)
    assert told(ask(client, body)) == "hit"


def test_an_error_event_is_not_kept(client: httpx.Client, mock_vllm: MockVllm) -> None:
    mock = pieces(b'data: {"error": {"message": "m"}}\n\n', b"data: [DONE]\n\n")
    for _ in range(2):
        assert told(ask(client, chat(stream=True, mock=mock))) == "miss"
    assert metric(client, "gateway_response_cache_total", result="stored") == 0


ABORTED = b'{"choices":[{"index":0,"finish_reason":"abort","message":{"content":"half"}}],"usage":null}'


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_broken_off_is_not_kept(client: httpx.Client, stream: bool) -> None:
    """vLLM ends what it aborts with status 200."""
    if stream:
        mock = pieces(b"data: " + ABORTED + b"\n\n", b"data: [DONE]\n\n")
    else:
        mock = {**pieces(ABORTED), "content_type": "application/json"}
    for _ in range(2):
        assert told(ask(client, chat(stream=stream, mock=mock))) == "miss"
    assert metric(client, "gateway_response_cache_total", result="stored") == 0


def test_an_answer_of_another_model_than_the_chosen_one_is_not_kept(mock_vllm: MockVllm) -> None:
    """The chosen model closes before the first byte; what another says in its stead must not pass for its own."""
    with running_mock_vllm() as broken:
        broken.behave(die_before_head=True)
        models = [model_section("alpha", broken), model_section("beta", mock_vllm)]
        with running_gateway(settings_with(models, cache={"keys": ["anonymous"]})) as client:
            for _ in range(2):
                answer = ask(client, chat("auto"))
                assert (answer.headers["x-gateway-model"], told(answer)) == ("beta", "miss")
            assert metric(client, "gateway_response_cache_total", result="stored") == 0
        assert broken.seen()


def test_a_large_answer_is_given_and_not_kept(mock_vllm: MockVllm) -> None:
    cache = {"keys": ["anonymous"], "max_entry_bytes": 600}
    with running_gateway(open_settings(mock_vllm, cache=cache)) as client:
        for stream in (True, False):
            text = "long " * 200
            body = chat(stream=stream, messages=[{"role": "user", "content": text}])
            answers = [ask(client, body) for _ in range(2)]
            assert [told(answer) for answer in answers] == ["miss", "miss"]
            assert answers[0].content == answers[1].content
            assert len(answers[0].content) > 600
        assert told(ask(client, chat())) == "miss"
        stored(client, 1)


def test_a_hit_costs_nothing_and_says_so(tmp_path: Path, mock_vllm: MockVllm) -> None:
    with running_gateway(open_settings(mock_vllm, decisions={"path": tmp_path})) as client:
        first = ask(client, chat("auto"))
        stored(client, 1)
        spent = metric(client, "gateway_tokens_total")
        second = ask(client, chat("auto"))
        assert "x-gateway-cost" in first.headers
        assert "x-gateway-cost" not in second.headers
        assert metric(client, "gateway_tokens_total") == spent > 0
        assert metric(client, "gateway_response_cache_total", result="hit") == 1
        assert metric(client, "gateway_requests_total", model="alpha", status="200", outcome="ok") == 2
    asked, replayed = read_decisions(tmp_path)
    assert (asked.is_cached, asked.attempts) == (False, 1)
    assert (replayed.is_cached, replayed.attempts, replayed.answered_model) == (True, 0, "alpha")
    assert (replayed.input_tokens, replayed.cost, replayed.reason) == (None, None, "routed")


@contextlib.contextmanager
def sending(client: httpx.Client, body: dict[str, Any], count: int) -> Iterator[list[Future[httpx.Response]]]:
    """So many requests at once, from threads."""
    with ThreadPoolExecutor(count) as threads:
        yield [threads.submit(ask, client, body) for _ in range(count)]


@pytest.mark.parametrize("stream", [False, True])
def test_many_at_once_ask_the_model_once(client: httpx.Client, mock_vllm: MockVllm, stream: bool) -> None:
    mock_vllm.behave(latency_s=0.5)
    with sending(client, chat(stream=stream), 30) as answers:
        found = [answer.result() for answer in answers]
    assert {answer.content for answer in found} == {found[0].content}
    assert sorted({told(answer) for answer in found}) == ["joined", "miss"]
    assert len(mock_vllm.seen()) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_first_client_leaves_another_takes_over(
    client: httpx.Client, mock_vllm: MockVllm, stream: bool
) -> None:
    mock = {"chunks": 20, "chunk_delay_s": 0.05} if stream else {"latency_s": 1.0}
    mock_vllm.behave(**mock)
    body = chat(stream=stream)
    with sent_raw(client, CHAT, body) as leaving:
        mock_vllm.wait_until(lambda seen: True)
        with sending(client, body, 5) as answers:
            leaving.close()
            found = [answer.result() for answer in answers]
    assert [answer.status_code for answer in found] == [200] * 5
    assert {answer.content for answer in found} == {found[0].content}
    if stream:
        assert found[0].content.endswith(b"data: [DONE]\n\n")
    assert len(mock_vllm.seen()) == 2
    assert mock_vllm.seen()[0]["caller_left_after_s"] is not None


@pytest.fixture
def keyed(tmp_path: Path, mock_vllm: MockVllm, capsys: pytest.CaptureFixture[str]) -> tuple[Settings, dict[str, str]]:
    """Settings in which the keys `one` and `two` have a cache and `other` has none, and the keys' texts."""
    sections: dict[str, Any] = {
        "models": [model_section("alpha", mock_vllm), model_section("beta", mock_vllm)],
        "access": {"require_keys": True},
    }
    path = write_settings(tmp_path / "gateway.yaml", **sections)
    keys = {}
    for name in ("one", "two", "other"):
        assert main(["keys", "create", "--name", name, "--config", str(path)]) == 0
        keys[name] = capsys.readouterr().out.strip()
    sections["cache"] = {"keys": [keys[name].split("_")[1] for name in ("one", "two")]}
    return load_settings(write_settings(path, **sections)), keys


def test_a_key_never_sees_another_keys_answers(keyed: tuple[Settings, dict[str, str]], mock_vllm: MockVllm) -> None:
    settings, keys = keyed

    def asked(client: httpx.Client, name: str) -> str:
        return told(ask(client, chat(), authorization=f"Bearer {keys[name]}"))

    with running_gateway(settings) as client:
        assert asked(client, "one") == "miss"
        stored(client, 1)
        assert [asked(client, name) for name in ("one", "two", "other", "other")] == ["hit", "miss", "", ""]
        stored(client, 2)
        assert [asked(client, name) for name in ("one", "two")] == ["hit", "hit"]
        assert ask(client, chat()).status_code == 401
    assert len(mock_vllm.seen()) == 4


@pytest.mark.redis
def test_workers_share_answers_through_redis_and_lose_only_hits_with_it(
    own_redis_server: RedisServer, mock_vllm: MockVllm
) -> None:
    settings = open_settings(mock_vllm, state={"redis_url": own_redis_server.url, "timeout_s": 1.0})
    with running_gateway(settings) as one, running_gateway(settings) as two:
        for stream in (False, True):
            first = ask(one, chat(stream=stream))
            stored(one, 1 + stream)
            second = ask(two, chat(stream=stream))
            assert (told(first), told(second)) == ("miss", "hit")
            assert second.content == first.content
        own_redis_server.kill()
        for client in (one, two, one):
            answer = ask(client, chat())
            assert (answer.status_code, told(answer)) == (200, "miss")
            assert json.loads(answer.content)["choices"]
        assert metric(one, "gateway_response_cache_total", result="stored") == 2
    assert len(mock_vllm.seen()) == 5


async def test_answers_take_no_connection_from_limits_and_sessions(
    mock_vllm: MockVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Noted] = []

    def build_state(settings: Settings, **_: Any) -> Noted:
        made.append(Noted())
        return made[-1]

    monkeypatch.setattr("gateway.app.build_state", build_state)
    monkeypatch.setattr("gateway.control.store.build_state", build_state)
    settings = open_settings(mock_vllm, state={"redis_url": "redis://127.0.0.1:1/0"})
    app = build_app(settings)
    await app.start()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert told(await client.post(CHAT, json=chat())) == "miss"
    await app.aclose()
    (holding,) = [state for state in made if state.has_answers]
    assert holding is not made[0]
    assert all(state.is_closed for state in made)


class Noted(MemoryState):
    """Notes whether it was given answers, and whether it was closed."""

    has_answers = False
    is_closed = False

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        self.has_answers = self.has_answers or name.startswith("answer:")
        await super().put(name, value, ttl_s)

    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()
