import email.utils
import re
import socket
from contextlib import asynccontextmanager
from random import Random

import httpx
import pytest

from router_training.errors import EndpointError
from router_training.pool.endpoint import Endpoint, Reply, Unanswered, open_endpoint
from tests.support.answering_server import MODELS

NOW = 1_800_000_000.0


@asynccontextmanager
async def endpoint_at(url, *, retries=3, timeout_s=10.0):
    """An Endpoint that notes its pauses instead of sleeping; its clock stands at NOW."""
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    async with httpx.AsyncClient(base_url=f"{url}/v1", trust_env=False) as client:
        endpoint = Endpoint(
            client, timeout_s=timeout_s, retries=retries, random=Random(0), sleep=sleep, wall_clock=lambda: NOW
        )
        yield endpoint, pauses


async def ask(endpoint, question="What is 4 + 100?", *, model="sharp", temperature=0.0):
    return await endpoint.ask(question, model=model, max_tokens=16, temperature=temperature, seed=7, about="query 'q4'")


async def test_a_reply_carries_text_tokens_and_reason(server):
    async with endpoint_at(server.url) as (endpoint, _):
        reply = await ask(endpoint)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (
        "The answer is 104", 9, 3, "stop",
    )  # fmt: skip


async def test_the_seed_goes_along_only_when_there_is_chance(server):
    async with endpoint_at(server.url) as (endpoint, _):
        await ask(endpoint)
        await ask(endpoint, temperature=0.5)
    assert set(server.seen()["tries"]) == {("sharp", "What is 4 + 100?", -1), ("sharp", "What is 4 + 100?", 7)}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
async def test_what_may_pass_is_tried_again(status, server):
    server.plan(failures=2, status=status)
    async with endpoint_at(server.url) as (endpoint, pauses):
        reply = await ask(endpoint)
    assert isinstance(reply, Reply)
    assert len(pauses) == 2


async def test_pauses_grow_and_are_never_in_step(server):
    server.plan(failures=99)
    async with endpoint_at(server.url, retries=9) as (endpoint, pauses):
        assert await ask(endpoint) == Unanswered("HTTP 500 after 10 tries")
    bounds = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize(
    ("retry_after", "at_least_s"),
    [("7", 7.0), (email.utils.formatdate(NOW + 9, usegmt=True), 9.0), ("0", 0.25), ("soon", 0.25), ("-3", 0.25)],
)
async def test_retry_after_is_honoured(retry_after, at_least_s, server):
    server.plan(failures=1, status=429, retry_after=retry_after)
    async with endpoint_at(server.url) as (endpoint, pauses):
        await ask(endpoint)
    assert at_least_s <= pauses[0] <= max(at_least_s, 0.5)


async def test_a_wait_beyond_reason_ends_the_run(server):
    server.plan(failures=1, status=429, retry_after="4000")
    async with endpoint_at(server.url) as (endpoint, pauses):
        with pytest.raises(EndpointError, match="asks to come back in 4000 s"):
            await ask(endpoint)
    assert pauses == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_any_other_refusal_ends_the_run_without_a_second_try(status, server):
    server.plan(failures=9, status=status)
    async with endpoint_at(server.url) as (endpoint, _):
        with pytest.raises(EndpointError) as caught:
            await ask(endpoint)
    assert str(caught.value).endswith(f"/v1/: HTTP {status} for query 'q4', model sharp: as planned")
    assert list(server.seen()["tries"].values()) == [1]


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        "{}",
        '{"choices": []}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"content": 5}}]}',
    ],
)
async def test_a_broken_reply_ends_the_run(body, server):
    server.plan(body=body)
    async with endpoint_at(server.url) as (endpoint, _):
        with pytest.raises(EndpointError, match="the reply for query 'q4', model sharp is no"):
            await ask(endpoint)


async def test_a_reply_without_text_or_usage_is_an_empty_reply(server):
    server.plan(body='{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}')
    async with endpoint_at(server.url) as (endpoint, _):
        reply = await ask(endpoint)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == ("", None, None, "length")


async def test_a_lone_surrogate_becomes_a_character_that_can_be_written(server):
    server.plan(body=r'{"choices": [{"message": {"content": "a\ud800b"}}]}')
    async with endpoint_at(server.url) as (endpoint, _):
        reply = await ask(endpoint)
    assert isinstance(reply, Reply)
    assert reply.text == "a?b"


async def test_no_answer_in_time_is_tried_again_and_said(server):
    server.plan(delay_s=30)
    async with endpoint_at(server.url, retries=1, timeout_s=0.2) as (endpoint, pauses):
        assert await ask(endpoint) == Unanswered("no answer within 0.2 s after 2 tries")
    assert len(pauses) == 1


async def test_nobody_listening_is_tried_again_and_said():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with endpoint_at(f"http://127.0.0.1:{unused.getsockname()[1]}", retries=1) as (endpoint, pauses):
            outcome = await ask(endpoint)
            assert isinstance(outcome, Unanswered)
            assert re.fullmatch(r"no connection \(.+\) after 2 tries", outcome.reason)
            with pytest.raises(EndpointError, match=r"no connection .*; is the endpoint up"):
                await endpoint.served_models()
    assert len(pauses) == 1


async def test_the_served_models_are_listed(server):
    async with open_endpoint(
        f"{server.url}/v1", api_key=None, timeout_s=10, retries=0, concurrency=2, random=Random(0)
    ) as endpoint:
        assert await endpoint.served_models() == list(MODELS)


async def test_an_url_that_is_no_api_is_said(server):
    async with open_endpoint(
        f"{server.url}/v9", api_key=None, timeout_s=10, retries=0, concurrency=2, random=Random(0)
    ) as endpoint:
        with pytest.raises(EndpointError, match="HTTP 404 for GET /models"):
            await endpoint.served_models()
