"""A connection before a transport that does what a test says: bytes cut anywhere, and pressure both ways."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamDisconnectedError, UpstreamError, UpstreamProtocolError
from gateway.upstream.connection import PIECE_BYTES, Connection
from gateway.upstream.exchange import HIGH_WATER_BYTES, Exchange

NEVER_S = 1e12


class Transport(asyncio.Transport):
    """Takes what is written, holds `pause_after` writes back, and knows whether it is read from."""

    def __init__(self, pause_after: int = 1000) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_reading = True
        self.is_aborted = False
        self.pause_after = pause_after

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        if len(self.written) == self.pause_after:
            self.get_protocol().pause_writing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted


class Home:
    """Counts what comes back."""

    def __init__(self) -> None:
        self.idle = 0

    def opened(self, connection: Connection) -> None:
        """Nothing to count."""

    def came_back(self, connection: Connection) -> None:
        self.idle += 1

    def lost(self, connection: Connection) -> None:
        """Nothing to count."""


def connected(transport: Transport, home: Home) -> Connection:
    connection = Connection(home, asyncio.get_running_loop())
    transport.set_protocol(connection)
    connection.connection_made(transport)
    return connection


def exchange_on(connection: Connection, body: bytes = b"") -> Exchange:
    loop = asyncio.get_running_loop()
    exchange = Exchange(connection, loop, "alpha", first_byte_by=NEVER_S, total_by=NEVER_S, idle_timeout_s=NEVER_S)
    connection.start(exchange, b"POST / HTTP/1.1\r\n\r\n", body)
    return exchange


@dataclass(frozen=True)
class Outcome:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    error: tuple[type[UpstreamError], str] | None


async def outcome_of(pieces: Sequence[bytes], reads_between: Sequence[bool] = ()) -> Outcome:
    """What a consumer sees of bytes that arrive in pieces, before the connection is closed in order."""
    transport, body = Transport(), b""
    connection = connected(transport, Home())
    exchange = exchange_on(connection)
    error: UpstreamError | None = None
    for number, piece in enumerate(pieces):
        if transport.is_aborted:
            break
        connection.data_received(piece)
        if number < len(reads_between) and reads_between[number] and exchange.has_head:
            reading = asyncio.ensure_future(exchange.read())
            await asyncio.sleep(0)
            if reading.done() and reading.exception() is None:
                body += reading.result()
            else:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    connection.connection_lost(None)
    try:
        await exchange.head()
        while part := await exchange.read():
            body += part
    except UpstreamError as failure:
        error = failure
    return Outcome(
        exchange.status, tuple(exchange.headers.items()), body, None if error is None else (type(error), str(error))
    )


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Good answers of every framing, some of them spoilt."""
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nx: y\r\n\r\n"]))
    status = draw(st.sampled_from([b"200 OK", b"204 No Content", b"304 Not Modified", b"429 Wait", b"503", b"101 X"]))
    headers = draw(st.lists(st.sampled_from([b"x: a", b"X:b ", b"connection: close", b"y:", b"z: \xe9"]), max_size=3))
    parts = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=4))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        headers.append(b"content-length: %d" % sum(map(len, parts)))
        body = b"".join(parts)
    elif framing == "chunked":
        headers.append(b"transfer-encoding: chunked")
        extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"t: u\r\n"]))
        body = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
        body += b"0\r\n" + trailer + b"\r\n"
    else:
        body = b"".join(parts)
    whole = interim + b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + body
    spoil = draw(st.sampled_from(["", "", "cut", "flip", "more"]))
    at = draw(st.integers(0, max(0, len(whole) - 1)))
    if spoil == "cut":
        return whole[:at]
    if spoil == "flip":
        return whole[:at] + draw(st.binary(min_size=1, max_size=1)) + whole[at + 1 :]
    return whole + draw(st.binary(min_size=1, max_size=10)) if spoil == "more" else whole


@given(answer=answers(), data=st.data())
def test_an_answer_is_the_same_wherever_it_is_cut(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)), max_size=8)))
    reads = data.draw(st.lists(st.booleans(), max_size=8))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True) if start < end]

    async def both() -> tuple[Outcome, Outcome]:
        return await outcome_of([answer] if answer else []), await outcome_of(pieces, reads)

    whole, cut = asyncio.run(both())
    assert cut == whole


@given(answer=answers())
def test_byte_by_byte(answer: bytes) -> None:
    async def both() -> tuple[Outcome, Outcome]:
        return await outcome_of([answer] if answer else []), await outcome_of([bytes([byte]) for byte in answer])

    whole, cut = asyncio.run(both())
    assert cut == whole


async def test_a_server_is_not_read_from_while_nobody_takes_what_it_sent() -> None:
    transport, home = Transport(), Home()
    connection = connected(transport, home)
    exchange = exchange_on(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (3 * HIGH_WATER_BYTES))
    connection.data_received(b"x" * HIGH_WATER_BYTES)
    assert transport.is_reading
    connection.data_received(b"x" * HIGH_WATER_BYTES)
    assert not transport.is_reading
    assert len(await exchange.read()) == 2 * HIGH_WATER_BYTES
    assert transport.is_reading
    connection.data_received(b"x" * HIGH_WATER_BYTES)
    exchange.close()
    assert home.idle == 1


async def test_a_connection_that_is_not_read_from_does_not_come_back_like_that() -> None:
    transport, home = Transport(), Home()
    connection = connected(transport, home)
    exchange = exchange_on(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000)
    assert not transport.is_reading
    exchange.close()
    assert transport.is_reading
    assert home.idle == 1


async def test_a_large_body_goes_out_as_the_server_takes_it() -> None:
    body = bytes(range(256)) * (5 * PIECE_BYTES // 512)
    transport = Transport(pause_after=2)
    connection = connected(transport, Home())
    exchange_on(connection, body)
    assert len(transport.written) == 2
    transport.pause_after = 3
    connection.resume_writing()
    assert len(transport.written) == 3
    connection.resume_writing()
    assert b"".join(transport.written).endswith(b"\r\n\r\n" + body)


async def test_an_answer_before_the_end_of_the_request_ends_the_connection() -> None:
    transport, home = Transport(pause_after=2), Home()
    connection = connected(transport, home)
    exchange = exchange_on(connection, b"x" * 4 * PIECE_BYTES)
    connection.data_received(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
    await exchange.head()
    assert (exchange.status, await exchange.read(), await exchange.read()) == (413, b"no", b"")
    exchange.close()
    assert home.idle == 0
    assert transport.is_aborted


async def test_a_connection_that_closed_before_it_was_used() -> None:
    connection = connected(Transport(), Home())
    connection.connection_lost(None)
    exchange = exchange_on(connection)
    with pytest.raises(UpstreamDisconnectedError):
        await exchange.head()


async def test_a_server_that_speaks_first_is_not_listened_to() -> None:
    transport = Transport()
    connection = connected(transport, Home())
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert transport.is_aborted
    exchange = exchange_on(connection)
    with pytest.raises(UpstreamDisconnectedError):
        await exchange.head()
    assert transport.written == []


async def test_no_more_of_a_body_goes_out_on_a_connection_that_closes() -> None:
    transport = Transport(pause_after=2)
    connection = connected(transport, Home())
    exchange_on(connection, b"x" * 4 * PIECE_BYTES)
    connection.abort()
    connection.resume_writing()
    assert len(transport.written) == 2


async def test_reading_from_an_exchange_that_was_let_go() -> None:
    connection = connected(Transport(), Home())
    exchange = exchange_on(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
    exchange.close()
    exchange.close()
    assert await exchange.read() == b"o"
    with pytest.raises(UpstreamError, match="let go"):
        await exchange.read()


async def test_letting_go_twice_does_not_touch_the_next_exchange() -> None:
    transport, home = Transport(), Home()
    connection = connected(transport, home)
    first = exchange_on(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    first.close()
    second = exchange_on(connection)
    first.close()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert await second.read() == b"ok"
    assert not transport.is_aborted


async def test_a_connection_that_we_end_ends_no_body_in_order() -> None:
    connection = connected(Transport(), Home())
    exchange = exchange_on(connection)
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    connection.abort()
    connection.connection_lost(None)
    assert await exchange.read() == b"half"
    with pytest.raises(UpstreamProtocolError):
        await exchange.read()
