"""A client that leaves, at any stage, on every endpoint: the model stops. And a client that stops reading."""

import asyncio
import base64
import errno
import gc
import json
import socket
import time
import weakref
from typing import Any

import httpx
import pytest

from gateway.http.watch import ClientLeftError, Watch
from tests.support.gateway_client import (
    BODIES,
    CHAT,
    STREAMING,
    chat,
    metric,
    model_section,
    request,
    running_gateway,
    sent_raw,
    settings_with,
)
from tests.support.mock_vllm import MockVllm


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def closed_so_far(gateway: httpx.Client) -> float:
    return metric(gateway, "gateway_requests_total", outcome="client_closed", status="499")


def leave_after(gateway: httpx.Client, mock: MockVllm, path: str, body: dict[str, Any], *, first_bytes: bool) -> float:
    """Send, leave once the model works (or the first bytes are here), and give the model's time of being left alone."""
    before = closed_so_far(gateway)
    with sent_raw(gateway, path, body) as connection:
        if first_bytes:
            assert connection.recv(1000)
        mock.wait_until(lambda seen: seen["path"] == path)
        left_at = time.monotonic()
    mock.wait_until(lambda seen: seen["caller_left_after_s"] is not None)
    wait_for(lambda: closed_so_far(gateway) == before + 1)
    return time.monotonic() - left_at


@pytest.mark.parametrize("path", BODIES)
def test_leaving_before_the_first_byte(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    """F02, F03: non-streaming on every endpoint. The mock would answer after a minute; the client does not wait."""
    leave_after(gateway, mock_vllm, path, request(path, mock={"latency_s": 60}), first_bytes=False)


@pytest.mark.parametrize("path", STREAMING)
def test_leaving_before_the_first_token(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    """F02: the head of the stream is there, no event yet."""
    leave_after(gateway, mock_vllm, path, request(path, stream=True, mock={"stall_at_chunk": 0}), first_bytes=False)


@pytest.mark.parametrize("path", STREAMING)
def test_leaving_in_mid_stream(gateway: httpx.Client, mock_vllm: MockVllm, path: str) -> None:
    """F01: the model works on the next token when the client leaves."""
    mock = {"chunks": 500, "chunk_delay_s": 0.1}
    leave_after(gateway, mock_vllm, path, request(path, stream=True, mock=mock), first_bytes=True)


def test_half_closing_is_leaving(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """F04: a client that shuts its writing side is taken to have left; the documented choice of the server."""
    with sent_raw(gateway, CHAT, chat(mock={"latency_s": 60})) as connection:
        mock_vllm.wait_until(lambda seen: True)
        connection.shutdown(socket.SHUT_WR)
        mock_vllm.wait_until(lambda seen: seen["caller_left_after_s"] is not None)


def test_leaving_in_the_middle_of_the_body_reaches_no_model(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """F02: nobody is asked for a client that is gone."""
    before = closed_so_far(gateway)
    with sent_raw(gateway, CHAT, b'{"model":"alpha"', "content-length: 1000\r\n"):
        pass
    wait_for(lambda: closed_so_far(gateway) == before + 1)
    assert mock_vllm.seen() == []


def reset_by_peer(connection: socket.socket) -> bool:
    """Whether the other end has given the connection up, looking without reading."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_a_client_that_stops_reading_is_dropped(mock_vllm: MockVllm) -> None:
    """F16: the model is let go once nothing has been read for the stall deadline, and so is the connection."""
    server = {"client_stall_timeout_s": 0.5}
    with running_gateway(settings_with([model_section("alpha", mock_vllm)], server=server)) as gateway:
        long_word = [{"role": "user", "content": "x" * 60_000}]
        body = chat(stream=True, mock={"chunks": 1500}, messages=long_word)
        with sent_raw(gateway, CHAT, body) as connection:
            assert connection.recv(100)
            mock_vllm.wait_until(lambda seen: seen["caller_left_after_s"] is not None, timeout_s=30)
            wait_for(lambda: reset_by_peer(connection))
        wait_for(lambda: closed_so_far(gateway) == 1)


def test_a_client_that_reads_nothing_of_a_whole_answer_is_dropped(mock_vllm: MockVllm) -> None:
    """F16: an answer that is there already is kept no longer than one that is being generated."""
    server = {"client_stall_timeout_s": 0.5}
    # More than the system takes off the gateway's hands.
    answer = base64.b64encode(json.dumps({"text": "x" * 5_500_000}).encode()).decode()
    mock = {"pieces": [answer], "content_type": "application/json"}
    with running_gateway(settings_with([model_section("alpha", mock_vllm)], server=server)) as gateway:
        with sent_raw(gateway, CHAT, chat(mock=mock)) as connection:
            wait_for(lambda: reset_by_peer(connection))
        wait_for(lambda: closed_so_far(gateway) == 1)


def test_other_requests_are_not_disturbed(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    with sent_raw(gateway, CHAT, chat(mock={"latency_s": 60})):
        mock_vllm.wait_until(lambda seen: True)
        assert gateway.post(CHAT, json=chat()).status_code == 200
    assert gateway.post(CHAT, json=chat()).status_code == 200


def receiving(*messages: str) -> tuple[Any, list[asyncio.Future[None]]]:
    """A connection that says these, each once the future of its turn is set."""
    turns: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in messages]
    said = iter(zip(turns, messages, strict=True))

    async def receive() -> dict[str, str]:
        turn, message = next(said)
        await turn
        return {"type": message}

    return receive, turns


async def watched(receive: Any, began: asyncio.Event) -> None:
    """Work that never ends by itself."""
    with Watch(receive):
        began.set()
        await asyncio.Event().wait()


async def test_the_work_is_cancelled_when_its_client_leaves_and_not_by_what_comes_before() -> None:
    receive, turns = receiving("http.request", "http.disconnect")
    began = asyncio.Event()
    work = asyncio.create_task(watched(receive, began))
    await began.wait()
    turns[0].set_result(None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not work.done()
    turns[1].set_result(None)
    with pytest.raises(ClientLeftError):
        await work


async def test_a_client_that_has_left_before_starts_nothing() -> None:
    receive, turns = receiving("http.disconnect")
    turns[0].set_result(None)
    began = asyncio.Event()
    with pytest.raises(ClientLeftError):
        await watched(receive, began)
    assert not began.is_set()
    await asyncio.sleep(0)


async def test_a_server_that_only_gives_up_its_turn_is_asked_on() -> None:
    turns_taken = 0

    async def receive() -> dict[str, str]:
        nonlocal turns_taken
        while turns_taken < 3:
            turns_taken += 1
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientLeftError):
        await watched(receive, asyncio.Event())


async def test_a_disconnect_after_the_answers_end_means_nothing() -> None:
    receive, turns = receiving("http.disconnect")
    with Watch(receive) as watch:
        watch.over()
        turns[0].set_result(None)
        await asyncio.sleep(0.01)


async def test_the_asking_ends_with_the_work() -> None:
    was_closed = False

    async def receive() -> dict[str, str]:
        nonlocal was_closed
        try:
            await asyncio.Event().wait()
        finally:
            was_closed = True
        return {}

    with Watch(receive):
        await asyncio.sleep(0)
    assert was_closed


async def test_work_that_is_cancelled_by_others_stays_cancelled() -> None:
    receive, _ = receiving("http.disconnect")

    async def work() -> None:
        with Watch(receive):
            await asyncio.Event().wait()

    running = asyncio.create_task(work())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_client_that_left_leaves_nothing_to_the_collector() -> None:
    """What its request held goes at once: the collector looks too rarely for streams that are given up by thousands."""

    class Held:
        """Something of the request."""

    async def receive() -> Any:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def request() -> "weakref.ref[Held]":
        held = Held()
        kept = weakref.ref(held)
        try:
            with Watch(receive):
                await asyncio.sleep(10)
        except ClientLeftError:
            pass
        return kept

    gc.collect()
    gc.disable()
    try:
        kept = await asyncio.create_task(request())
        await asyncio.sleep(0)
        assert kept() is None
    finally:
        gc.enable()
