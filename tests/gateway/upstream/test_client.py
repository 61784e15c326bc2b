"""What both clients do alike: each deadline is its own error, and letting go closes the connection."""

import asyncio
import contextlib
import itertools
import json
import random
import resource
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import (
    OutOfDescriptorsError,
    UpstreamConnectError,
    UpstreamConnectTimeoutError,
    UpstreamDisconnectedError,
    UpstreamError,
    UpstreamFirstByteTimeoutError,
    UpstreamIdleTimeoutError,
    UpstreamProtocolError,
    UpstreamTotalTimeoutError,
)
from gateway.upstream.base import Replica, Upstream, UpstreamAnswer
from gateway.upstream.client import KEEPALIVE_S, HttpUpstream
from tests.support.mock_vllm import MockVllm, free_port
from tests.support.raw_server import RawServer, Serve, raw_server, reset
from tests.support.upstreams import SETTINGS, post, read

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


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


async def test_no_descriptor_left_is_no_fault_of_the_server(mock_vllm: MockVllm) -> None:
    upstream = HttpUpstream(SETTINGS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OutOfDescriptorsError):
            await ask(upstream, mock_vllm.port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await upstream.aclose()


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

    async def once(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await writer.drain()
        # The next request on this connection finds it closing: it is read and not answered.
        await server.read_request(reader)

    async with raw_server(once) as server:
        for _ in range(2):
            assert await read(await post(upstream, server.port)) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("reads", [True, False], ids=["and goes on reading", "and reads nothing more"])
async def test_an_answer_before_the_body_is_out(upstream: Upstream, reads: bool) -> None:
    """A server that has seen enough: its 413 arrives, and the connection is not used again."""

    async def refuse(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        while reads and await reader.read(2**20):
            pass
        await is_over.wait()

    is_over = asyncio.Event()
    async with raw_server(refuse) as server:
        for number in (1, 2):
            answer = await post(upstream, server.port, b"x" * 20_000_000)
            assert answer.status == 413
            assert await read(answer) == b"no"
            assert server.connections == number
        is_over.set()


# What only the gateway's own client has to show: connections are few, and in a known state.


def served(answer: bytes, *, then: Callable[[asyncio.StreamWriter], object] = lambda _: None) -> Serve:
    """Answers every request so, and does `then`."""

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            writer.write(answer)
            await writer.drain()
            then(writer)

    return serve


async def test_the_total_deadline_ends_what_only_trickles() -> None:
    async def trickle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    client = HttpUpstream(SETTINGS.model_copy(update={"total_timeout_s": 0.5}))
    async with raw_server(trickle) as server:
        with pytest.raises(UpstreamTotalTimeoutError, match="'alpha' did not complete its answer in time"):
            await read(await post(client, server.port))
        await asyncio.wait_for(server.left.wait(), 10)
    await client.aclose()


async def test_the_total_deadline_holds_before_the_head() -> None:
    client = HttpUpstream(SETTINGS.model_copy(update={"total_timeout_s": 0.2}))
    async with raw_server(served(b"")) as server:
        with pytest.raises(UpstreamTotalTimeoutError):
            await post(client, server.port)
        await asyncio.wait_for(server.left.wait(), 10)
    await client.aclose()


async def test_a_reader_that_takes_its_time_is_no_silence() -> None:
    """The idle deadline counts while somebody waits for the server."""
    client = HttpUpstream(SETTINGS.model_copy(update={"first_byte_timeout_s": 0.05, "idle_timeout_s": 0.05}))
    async with raw_server(served(OK)) as server:
        answer = await post(client, server.port)
        await asyncio.sleep(0.2)
        assert await read(answer) == b"ok"
        assert await read(await post(client, server.port)) == b"ok"
        assert server.connections == 1
    await client.aclose()


async def test_deadlines_start_anew_on_a_used_connection() -> None:
    client = HttpUpstream(SETTINGS.model_copy(update={"first_byte_timeout_s": 0.4, "idle_timeout_s": 0.4}))
    pauses = itertools.cycle([0.0, 0.25])

    async def slow(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            await asyncio.sleep(next(pauses))
            writer.write(OK)

    async with raw_server(slow) as server:
        for _ in range(6):
            assert await read(await post(client, server.port)) == b"ok"
        assert server.connections == 1
    await client.aclose()


async def test_an_idle_connection_is_closed_before_its_server_would() -> None:
    client = HttpUpstream(SETTINGS, keepalive_s=0.1)
    async with raw_server(served(OK)) as server:
        await read(await post(client, server.port))
        await asyncio.wait_for(server.left.wait(), 10)
        assert await read(await post(client, server.port)) == b"ok"
        assert server.connections == 2
    await client.aclose()


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(own: HttpUpstream) -> None:
    """As a server's 408 before it closes: it must not pass for the next request's answer."""
    timed_out = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"
    async with raw_server(served(OK, then=lambda writer: later(writer.write, timed_out))) as server:
        for number in (1, 2):
            assert await read(await post(own, server.port)) == b"ok"
            await asyncio.wait_for(server.left.wait(), KEEPALIVE_S - 1)
            server.left.clear()
            assert server.connections == number


def later(call: Callable[[bytes], object], data: bytes) -> None:
    asyncio.get_running_loop().call_later(0.05, call, data)


@pytest.mark.parametrize(
    ("second", "error", "asked"),
    [
        (b"", UpstreamDisconnectedError, 3),
        (b"HTTP/1.1 200", UpstreamProtocolError, 2),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", UpstreamProtocolError, 2),
    ],
    ids=["nothing, twice", "half a head", "half a body"],
)
async def test_a_used_connection_is_replaced_once_and_only_before_the_first_byte(
    own: HttpUpstream, second: bytes, error: type[UpstreamError], asked: int
) -> None:
    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            is_first = len(server.heads) == 1
            writer.write(OK if is_first else second)
            await writer.drain()
            if not is_first:
                return

    async with raw_server(serve) as server:
        assert await read(await post(own, server.port)) == b"ok"
        with pytest.raises(error):
            await read(await post(own, server.port))
        assert len(server.heads) == asked


async def test_a_connection_that_is_lost_in_the_middle_of_the_work_is_not_replaced() -> None:
    """Its server may have died of the request."""

    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await server.read_request(reader)
        await asyncio.sleep(0.05)

    upstream = HttpUpstream(SETTINGS, not_begun_s=0.01)
    async with raw_server(serve) as server:
        assert await read(await post(upstream, server.port)) == b"ok"
        with pytest.raises(UpstreamDisconnectedError):
            await post(upstream, server.port)
        assert len(server.heads) == 2
    await upstream.aclose()


async def test_a_new_connection_is_not_replaced(own: HttpUpstream) -> None:
    async def leave(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)

    async with raw_server(leave) as server:
        with pytest.raises(UpstreamDisconnectedError):
            await post(own, server.port)
        assert len(server.heads) == 1


async def test_connections_are_as_many_as_exchanges_at_once(own: HttpUpstream) -> None:
    async with raw_server(served(OK)) as server:
        for _ in range(3):
            answers = await asyncio.gather(*(post(own, server.port) for _ in range(5)))
            assert [await read(answer) for answer in answers] == [b"ok"] * 5
        assert server.connections == 5


async def test_each_server_has_connections_of_its_own(own: HttpUpstream) -> None:
    async with raw_server(served(OK)) as first, raw_server(served(OK.replace(b"ok", b"no"))) as second:
        for _ in range(2):
            assert await read(await post(own, first.port)) == b"ok"
            assert await read(await post(own, second.port)) == b"no"
        assert (first.connections, second.connections) == (1, 1)


async def test_an_ipv6_server(own: HttpUpstream) -> None:
    try:
        async with raw_server(served(OK), host="::1") as server:
            assert await read(await post(own, server.port, root="http://[::1]")) == b"ok"
            assert f"host: [::1]:{server.port}\r\n".encode() in server.heads[0]
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


async def test_a_name_that_is_none(own: HttpUpstream) -> None:
    for name in ("nowhere.invalid", "a" * 70 + ".invalid"):
        with pytest.raises(UpstreamConnectError) as caught:
            await post(own, 80, root=f"http://{name}")
        assert "invalid" not in str(caught.value)


async def test_a_header_that_would_split_the_request_is_never_sent(own: HttpUpstream) -> None:
    async with raw_server(served(OK)) as server:
        with pytest.raises(ValueError, match="line break"):
            await post(own, server.port, x="a\r\nevil: 1")
        assert server.connections == 0


async def test_cancelling_in_the_middle_of_an_answer_aborts(own: HttpUpstream) -> None:
    async with raw_server(served(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")) as server:
        answer = await post(own, server.port)
        reading = asyncio.create_task(read(answer))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(server.left.wait(), 10)


async def test_cancelling_while_a_large_body_goes_out_aborts(own: HttpUpstream) -> None:
    has_begun = asyncio.Event()

    async def take_little(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        has_begun.set()
        await server.left.wait()

    async with raw_server(take_little) as server:
        sending = asyncio.create_task(post(own, server.port, b"x" * 50_000_000))
        await asyncio.wait_for(has_begun.wait(), 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        server.left.set()


async def test_closing_the_client_ends_exchanges_and_refuses_new_ones(own: HttpUpstream) -> None:
    async with raw_server(served(b"HTTP/1.1 200 OK\r\n\r\nhalf")) as server:
        answer = await post(own, server.port)
        assert await answer.read() == b"half"
        await own.aclose()
        with pytest.raises(UpstreamProtocolError):
            await answer.read()
        answer.close()
        await asyncio.wait_for(server.left.wait(), 10)
        with pytest.raises(RuntimeError, match="closed"):
            await post(own, server.port)


async def test_no_answer_ever_reaches_another_request(own: HttpUpstream) -> None:
    """Requests come and go as they please, many connections end in some unpleasant way: whoever gets an answer
    gets its own."""
    chance = random.Random(7)
    answered = 0

    async def echo(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await server.read_request(reader)
            head = chance.choice([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]) + b"HTTP/1.1 200 OK\r\n"
            answer = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            # What nobody asked for comes with the end of the answer: later, no client could tell it from the next one.
            cut = chance.randrange(len(answer))
            if chance.random() < 0.1:
                answer += chance.choice([b"more", answer])
            writer.write(answer[:cut])
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                return
            writer.write(answer[cut:])
            if chance.random() < 0.1:
                reset(writer)

    async def ask(port: int, number: int) -> None:
        nonlocal answered
        body = b"%d" % number * chance.choice([1, 1, 1000])
        with contextlib.suppress(UpstreamError):
            answer = await post(own, port, body)
            if chance.random() < 0.1:
                answer.close()
                return
            assert await read(answer) == body
            answered += 1

    async def ask_and_perhaps_leave(port: int, number: int) -> None:
        asking = asyncio.ensure_future(ask(port, number))
        if chance.random() < 0.2:
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():
            asking.result()

    async with raw_server(echo) as server:
        for start in range(0, 1000, 20):
            await asyncio.gather(*(ask_and_perhaps_leave(server.port, start + i) for i in range(20)))
        assert answered > 500
        assert server.connections < 1000
