"""What a server may send, case by case, and what each client makes of it. Where aiohttp differs, the case says how.

Every case is asked twice, so that what one answer leaves behind cannot spoil the next.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import pytest

from gateway.errors import UpstreamDisconnectedError, UpstreamError, UpstreamIdleTimeoutError, UpstreamProtocolError
from gateway.upstream.base import Upstream
from gateway.upstream.client import KEEPALIVE_S
from gateway.upstream.connection import MAX_HEAD_BYTES
from tests.support.raw_server import RawServer, raw_server, reset
from tests.support.upstreams import CLIENTS, SETTINGS, post

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"content-length: 2\r\n\r\nok"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Outcome:
    """`status` is None where no head came; `is_reused`: the next request went out on the same connection."""

    status: int | None = 200
    body: bytes = b"ok"
    error: type[UpstreamError] | None = None
    x: str | None = None
    is_reused: bool = True


REUSED = Outcome()
ONCE = Outcome(is_reused=False)
NO_ANSWER = Outcome(None, b"", UpstreamProtocolError, is_reused=False)
CUT_SHORT = Outcome(200, b"ok", UpstreamProtocolError, is_reused=False)


@dataclass(frozen=True)
class Case:
    answer: bytes
    own: Outcome
    then: Literal["stays", "closes", "resets"] = "stays"
    aiohttp: Outcome | None = None


CASES = {
    "content-length": Case(WHOLE, REUSED),
    "chunked": Case(CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n", REUSED),
    "chunk extension and trailers": Case(CHUNKED + b"2;a=b\r\nok\r\n0\r\nx: t\r\n\r\n", REUSED),
    "until the end of the connection": Case(OK + b"\r\nok", ONCE, "closes"),
    "no body": Case(OK + b"content-length: 0\r\n\r\n", Outcome(body=b"")),
    "204": Case(b"HTTP/1.1 204 No Content\r\n\r\n", Outcome(204, b"")),
    # The parser would wait for the body that the header speaks of, so the connection is given up.
    "304 with a length": Case(
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        Outcome(304, b"", is_reused=False),
        aiohttp=Outcome(304, b""),
    ),
    "100 first": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE, REUSED),
    "103 with headers first": Case(b"HTTP/1.1 103 Early Hints\r\nx: early\r\n\r\n" + WHOLE, REUSED),
    "connection: close": Case(OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok", ONCE),
    "HTTP/1.0": Case(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", ONCE),
    "HTTP/1.0 keep-alive": Case(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", REUSED),
    "no reason phrase": Case(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", REUSED),
    "an offer to upgrade": Case(OK + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok", REUSED),
    "blanks around a value": Case(OK + b"x: \t a b \t \r\ncontent-length:2 \r\n\r\nok", Outcome(x="a b")),
    "blanks after chunked": Case(OK + b"Transfer-Encoding: Chunked \r\n\r\n2\r\nok\r\n0\r\n\r\n", REUSED),
    "a header twice": Case(
        OK + b"x: 1\r\nX: 2\r\ncontent-length: 2\r\n\r\nok", Outcome(x="1, 2"), aiohttp=Outcome(x="2")
    ),
    # A body that ends with the connection is whole only if the connection was ended in order.
    "until a reset": Case(OK + b"\r\nok", CUT_SHORT, "resets", aiohttp=ONCE),
    "short of its length": Case(OK + b"content-length: 5\r\n\r\nok", CUT_SHORT, "closes"),
    "reset short of its length": Case(OK + b"content-length: 5\r\n\r\nok", CUT_SHORT, "resets"),
    "in the middle of a chunk": Case(CHUNKED + b"5\r\nok", CUT_SHORT, "closes"),
    "no last chunk": Case(CHUNKED + b"2\r\nok\r\n", CUT_SHORT, "closes"),
    "no end of the last chunk": Case(CHUNKED + b"2\r\nok\r\n0\r\n", CUT_SHORT, "closes"),
    # aiohttp looks at everything that has come before it tells of the head.
    "a size that is none": Case(CHUNKED + b"2\r\nok\r\nzz\r\n", CUT_SHORT, aiohttp=NO_ANSWER),
    "a size below nought": Case(CHUNKED + b"2\r\nok\r\n-2\r\nok\r\n", CUT_SHORT, aiohttp=NO_ANSWER),
    "a size beyond 64 bits": Case(CHUNKED + b"2\r\nok\r\nffffffffffffffffff\r\n", CUT_SHORT, aiohttp=NO_ANSWER),
    "a chunk over its size": Case(CHUNKED + b"2\r\nokk\r\n0\r\n\r\n", CUT_SHORT, aiohttp=NO_ANSWER),
    "length and chunked": Case(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", NO_ANSWER),
    "chunked and length": Case(OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n", NO_ANSWER),
    "two lengths": Case(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok", NO_ANSWER),
    "a list of lengths": Case(OK + b"content-length: 2, 2\r\n\r\nok", NO_ANSWER),
    "a length below nought": Case(OK + b"content-length: -2\r\n\r\nok", NO_ANSWER),
    "a length that is none": Case(OK + b"content-length: two\r\n\r\nok", NO_ANSWER),
    "a length with a sign": Case(OK + b"content-length: +2\r\n\r\nok", NO_ANSWER),
    "another coding": Case(OK + b"transfer-encoding: gzip\r\n\r\nok", NO_ANSWER, "closes", aiohttp=ONCE),
    "another coding, chunked": Case(
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", NO_ANSWER, aiohttp=REUSED
    ),
    "no HTTP": Case(b"220 mail.example.org ESMTP\r\n\r\n", NO_ANSWER),
    "another protocol": Case(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        NO_ANSWER,
        aiohttp=Outcome(101, b"", is_reused=False),
    ),
    "101 without a protocol": Case(b"HTTP/1.1 101 Switching\r\n\r\n", NO_ANSWER, aiohttp=Outcome(101, b"")),
    "nothing": Case(b"", Outcome(None, b"", UpstreamDisconnectedError, is_reused=False), "closes"),
    "nothing and a reset": Case(b"", Outcome(None, b"", UpstreamDisconnectedError, is_reused=False), "resets"),
    # Something had come, so it is not safe to ask again.
    "half a head": Case(
        b"HTTP/1.1 200 OK\r\ncontent-le",
        NO_ANSWER,
        "closes",
        aiohttp=Outcome(None, b"", UpstreamDisconnectedError, is_reused=False),
    ),
    "only an interim answer": Case(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        NO_ANSWER,
        "closes",
        aiohttp=Outcome(None, b"", UpstreamDisconnectedError, is_reused=False),
    ),
    "more than the answer": Case(WHOLE + b"more", ONCE, aiohttp=NO_ANSWER),
    "two answers": Case(WHOLE + WHOLE, ONCE),
    "a folded header": Case(OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\nok", NO_ANSWER, aiohttp=Outcome(x="a b")),
    "bare line feeds": Case(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", NO_ANSWER, aiohttp=REUSED),
    "NUL in a header": Case(OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\nok", NO_ANSWER),
    "a blank before the colon": Case(OK + b"content-length : 2\r\n\r\nok", NO_ANSWER, aiohttp=REUSED),
    "no name": Case(OK + b": x\r\ncontent-length: 2\r\n\r\nok", NO_ANSWER),
    "one long header": Case(OK + b"x: " + b"a" * MAX_HEAD_BYTES + b"\r\ncontent-length: 2\r\n\r\nok", NO_ANSWER),
    "a head without an end": Case(OK + b"x: " + b"a" * 4 * MAX_HEAD_BYTES, NO_ANSWER),
    "many headers": Case(OK + b"x: a\r\n" * 20_000 + b"content-length: 2\r\n\r\nok", NO_ANSWER),
    "a chunk line without an end": Case(
        CHUNKED + b"2\r\nok\r\n2;" + b"a" * 4 * MAX_HEAD_BYTES,
        CUT_SHORT,
        aiohttp=Outcome(200, b"ok", UpstreamIdleTimeoutError, is_reused=False),
    ),
    "long trailers": Case(
        CHUNKED + b"2\r\nok\r\n0\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", CUT_SHORT, aiohttp=NO_ANSWER
    ),
    "a large body": Case(OK + b"content-length: 3000000\r\n\r\n" + b"x" * 3_000_000, Outcome(body=b"x" * 3_000_000)),
    "a large chunk": Case(
        CHUNKED + b"2dc6c0\r\n" + b"x" * 3_000_000 + b"\r\n0\r\n\r\n", Outcome(body=b"x" * 3_000_000)
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_case(case: Case, client: str) -> None:
    expected = case.own if client == "own" or case.aiohttp is None else case.aiohttp
    async with serving(case, client) as (upstream, server):
        for _ in range(2):
            outcome = await outcome_of(upstream, server.port)
            assert outcome == Outcome(expected.status, expected.body, expected.error, expected.x)
            if not expected.is_reused:
                # Well before an idle connection would be closed for its age.
                await asyncio.wait_for(server.left.wait(), KEEPALIVE_S - 1)
                server.left.clear()
        assert server.connections == (1 if expected.is_reused else 2)


@contextlib.asynccontextmanager
async def serving(case: Case, client: str) -> AsyncIterator[tuple[Upstream, RawServer]]:
    async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            writer.write(case.answer)
            await writer.drain()
            if case.then == "resets":
                reset(writer)
            if case.then != "stays":
                return

    upstream = CLIENTS[client](SETTINGS)
    async with raw_server(serve) as server:
        try:
            yield upstream, server
        finally:
            await upstream.aclose()


async def outcome_of(upstream: Upstream, port: int) -> Outcome:
    body = b""
    try:
        answer = await post(upstream, port)
    except UpstreamError as error:
        return Outcome(None, b"", type(error))
    try:
        while chunk := await answer.read():
            body += chunk
    except UpstreamError as error:
        return Outcome(answer.status, body, type(error), answer.headers.get("x"))
    finally:
        answer.close()
    return Outcome(answer.status, body, None, answer.headers.get("x"))
