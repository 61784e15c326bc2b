"""What both clients do alike: each deadline is its own error, and letting go closes the connection."""

import asyncio
import json
import socket
from typing import Any

import pytest

from gateway.errors import (
    UpstreamConnectError,
    UpstreamConnectTimeoutError,
    UpstreamDisconnectedError,
    UpstreamFirstByteTimeoutError,
    UpstreamIdleTimeoutError,
    UpstreamProtocolError,
)
from gateway.upstream.base import Replica, Upstream, UpstreamAnswer
from tests.gateway.upstream.conftest import read
from tests.support.mock_vllm import MockVllm, free_port


async def ask(upstream: Upstream, port: int, **mock: Any) -> UpstreamAnswer:
    replica = Replica("alpha", 0, f"http://127.0.0.1:{port}/v1", None, "alpha")
    body = json.dumps({"model": "alpha", "stream": True, "messages": [], "mock": mock}).encode()
    url = replica.base_url + "/chat/completions"
    return await upstream.send(replica, method="POST", url=url, headers={}, body=body)


async def test_a_good_answer(upstream: Upstream, mock_vllm: MockVllm) -> None:
    answer = await ask(upstream, mock_vllm.port)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (await read(answer)).endswith(b"data: [DONE]\n\n")


async def test_a_large_body_arrives_whole(upstream: Upstream, mock_vllm: MockVllm) -> None:
    replica = Replica("alpha", 0, mock_vllm.base_url, None, "alpha")
    body = json.dumps({"model": "alpha", "pad": "x" * 2_000_000}).encode()
    answer = await upstream.send(
        replica, method="POST", url=replica.base_url + "/chat/completions", headers={}, body=body
    )
    await read(answer)
    assert len(mock_vllm.seen()[-1]["body"]) == len(body)


async def test_nobody_listens(upstream: Upstream) -> None:
    port = free_port()
    with pytest.raises(UpstreamConnectError) as caught:
        await ask(upstream, port)
    assert type(caught.value) is UpstreamConnectError
    assert str(port) not in str(caught.value)
    assert "'alpha'" in str(caught.value)


async def test_the_connect_deadline(upstream: Upstream) -> None:
    """F08: a listener whose queue is full never completes a handshake."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            with pytest.raises(UpstreamConnectTimeoutError):
                await ask(upstream, port)
        finally:
            for one in waiting:
                one.close()


async def test_the_first_byte_deadline_before_the_head(upstream: Upstream, mock_vllm: MockVllm) -> None:
    """F08: the request is accepted and nothing comes."""
    with pytest.raises(UpstreamFirstByteTimeoutError):
        await ask(upstream, mock_vllm.port, latency_s=60)


async def test_the_first_byte_deadline_after_the_head(upstream: Upstream, mock_vllm: MockVllm) -> None:
    """F08: vLLM sends a stream's head at once; the wait for the first token is not a silence within an answer."""
    slow = await ask(upstream, mock_vllm.port, chunk_delay_s=0.0, latency_s=0.0, stall_at_chunk=0)
    with pytest.raises(UpstreamFirstByteTimeoutError):
        await read(slow)


async def test_the_idle_deadline(upstream: Upstream, mock_vllm: MockVllm) -> None:
    """F08, F09: silence in the middle."""
    answer = await ask(upstream, mock_vllm.port, stall_at_chunk=2)
    with pytest.raises(UpstreamIdleTimeoutError):
        await read(answer)


async def test_dying_before_the_first_byte(upstream: Upstream, mock_vllm: MockVllm) -> None:
    with pytest.raises(UpstreamDisconnectedError):
        await ask(upstream, mock_vllm.port, die_before_head=True)


async def test_dying_in_the_middle(upstream: Upstream, mock_vllm: MockVllm) -> None:
    answer = await ask(upstream, mock_vllm.port, die_at_chunk=1)
    with pytest.raises(UpstreamProtocolError, match="broke off"):
        await read(answer)


async def test_what_is_not_http(upstream: Upstream) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    with pytest.raises(UpstreamProtocolError):
        await ask(upstream, server.sockets[0].getsockname()[1])
    server.close()


async def test_letting_go_aborts(upstream: Upstream, mock_vllm: MockVllm) -> None:
    answer = await ask(upstream, mock_vllm.port, stall_at_chunk=1)
    answer.close()
    left = await asyncio.to_thread(mock_vllm.wait_until, lambda seen: seen["caller_left_after_s"] is not None)
    assert not left["finished"]


async def test_cancelling_aborts(upstream: Upstream, mock_vllm: MockVllm) -> None:
    asking = asyncio.create_task(ask(upstream, mock_vllm.port, latency_s=60))
    await asyncio.to_thread(mock_vllm.wait_until, lambda seen: True)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.to_thread(mock_vllm.wait_until, lambda seen: seen["caller_left_after_s"] is not None)


async def test_an_idle_connection_that_its_server_closed_is_replaced(upstream: Upstream) -> None:
    """A server that closes idle connections in the moment of a request must not look like one that is down."""
    served = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        # The next request on this connection finds it closing: it is read and not answered.
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(2):
        assert await read(await ask(upstream, port)) == b"ok"
    assert len(served) == 2
    server.close()
