import asyncio
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.load.generator import NUMBER, LoadError, LoadResult, Target, held_streams, run_load
from benchmarks.load.programs import Programs
from tests.support.scripted_server import ScriptedServer, scripted_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
Answer = Callable[[int], Sequence[bytes]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM = SSE_HEAD + chunk(b'data: {"a": 1}\n\n') + chunk(b": a comment\n\ndata: 2\r\n\r\n")
DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def loaded(
    programs: Programs, bodies: Path, answer: Answer, *, concurrency: int = 1, requests: int = 1
) -> tuple[LoadResult, ScriptedServer]:
    """So many requests against a server that answers like this."""
    async with scripted_server(answer) as server:
        target = Target(server.port, bodies, "/some/path", ("x-one: 1", "x-two: 2"))
        result = await asyncio.to_thread(
            run_load, programs.load_generator, target, concurrency=concurrency, seconds=20, requests=requests
        )
    return result, server


async def test_each_request_is_counted_once_and_reaches_the_server(programs: Programs, bodies: Path) -> None:
    result, server = await loaded(programs, bodies, lambda number: [OK], concurrency=4, requests=100)
    assert (result.answers, result.errors, result.events, result.reconnects) == (100, 0, 0, 0)
    assert len(server.bodies) == 100
    assert server.connections == 4
    assert server.heads[0].startswith(b"POST /some/path HTTP/1.1\r\n")
    assert b"\r\nx-one: 1\r\nx-two: 2\r\n" in server.heads[0]
    assert result.latency is not None
    assert result.latency.count == 100
    assert 0 < result.latency.p50_s <= result.latency.p99_s


async def test_every_ask_is_new_in_a_run_and_in_the_next_one(programs: Programs, bodies: Path) -> None:
    runs = [await loaded(programs, bodies, lambda number: [OK], concurrency=2, requests=50) for _ in range(2)]
    asks = [json.loads(body)["ask"] for _, server in runs for body in server.bodies]
    assert len(asks) == len(set(asks)) == 100
    assert all(ask.removeprefix("number ").isdigit() and len(ask) == len("number ") + len(NUMBER) for ask in asks)


def test_bodies_are_sent_in_turn_as_they_stand_in_the_file(programs: Programs, bodies: Path) -> None:
    bodies.write_text("first\nsecond\n\nthird")
    _, server = asyncio.run(loaded(programs, bodies, lambda number: [OK], requests=5))
    assert server.bodies == [b"first", b"second", b"third", b"first", b"second"]


async def test_events_are_counted_whatever_else_the_stream_holds(programs: Programs, bodies: Path) -> None:
    result, _ = await loaded(programs, bodies, lambda number: [STREAM + DONE], requests=3)
    assert (result.answers, result.errors, result.events) == (3, 0, 9)
    # Of three events the last is [DONE], so one gap is between chunks.
    assert result.gap is not None
    assert result.gap.count == 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(STREAM + DONE) - 1), max_size=40))
def test_it_does_not_matter_where_writes_end(programs: Programs, bodies: Path, cuts: list[int]) -> None:
    whole, edges = STREAM + DONE, [0, *sorted(set(cuts)), len(STREAM + DONE)]
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    result, _ = asyncio.run(loaded(programs, bodies, lambda number: pieces, requests=2))
    assert (result.answers, result.errors, result.first_error, result.events) == (2, 0, "", 6)


async def test_single_bytes_are_put_together(programs: Programs, bodies: Path) -> None:
    pieces = [bytes([byte]) for byte in STREAM + DONE]
    result, _ = await loaded(programs, bodies, lambda number: pieces, requests=2)
    assert (result.answers, result.errors, result.events) == (2, 0, 6)


async def test_an_answer_that_ends_with_its_connection_is_whole(programs: Programs, bodies: Path) -> None:
    answer = [b"HTTP/1.1 200 OK\r\n\r\n{}", b""]
    result, server = await loaded(programs, bodies, lambda number: answer, requests=3)
    assert (result.answers, result.errors, result.reconnects) == (3, 0, 2)
    assert server.connections == 3


async def test_a_connection_that_the_server_closes_is_opened_again(programs: Programs, bodies: Path) -> None:
    answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", b""]
    result, server = await loaded(programs, bodies, lambda number: answer, requests=3)
    assert (result.answers, result.errors, result.reconnects, server.connections) == (3, 0, 2, 3)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([b'HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\n{"a": 12}'], "status 503: { a : 12}"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b""], "broke before the answer was whole"),
        ([SSE_HEAD + chunk(b"data: 1\n\n"), b""], "broke before the answer was whole"),
        ([STREAM + b"0\r\n\r\n"], "a stream ended without [DONE]"),
        ([SSE_HEAD + b"no size\r\n"], "a chunk without a size"),
        ([b"SSH-2.0-nothing\r\n\r\n"], "not an answer in HTTP/1"),
        ([b""], "broke before the answer was whole"),
    ],
)
async def test_what_is_no_whole_answer_is_an_error_that_says_why(
    programs: Programs, bodies: Path, answer: list[bytes], error: str
) -> None:
    result, _ = await loaded(programs, bodies, lambda number: answer if number == 1 else [OK], requests=3)
    assert (result.answers, result.errors) == (2, 1)
    assert error in result.first_error


async def test_nobody_listens(programs: Programs, bodies: Path) -> None:
    async with scripted_server(lambda number: [OK]) as server:
        port = server.port
    result = await asyncio.to_thread(
        run_load, programs.load_generator, Target(port, bodies), concurrency=2, seconds=20, requests=4
    )
    assert result.answers == 0
    assert result.errors > 0
    assert "refused" in result.first_error
    assert result.latency is None


async def test_a_run_ends_with_its_time_and_waits_for_what_is_under_way(programs: Programs, bodies: Path) -> None:
    async with scripted_server(lambda number: [OK]) as server:
        target = Target(server.port, bodies)
        result = await asyncio.to_thread(run_load, programs.load_generator, target, concurrency=3, seconds=0.2)
    assert result.errors == 0
    assert result.answers == len(server.bodies) > 3
    assert result.answers_per_s == pytest.approx(result.answers / 0.2, rel=0.2)


async def test_a_stream_that_has_ended_is_not_held(programs: Programs, bodies: Path) -> None:
    def held_of(port: int) -> int:
        with held_streams(programs.load_generator, Target(port, bodies), streams=6) as held:
            return held()

    async with scripted_server(lambda number: [STREAM + DONE if number % 3 == 0 else STREAM]) as server:
        assert await asyncio.to_thread(held_of, server.port) == 4


def test_a_file_without_a_body_is_refused(programs: Programs, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(LoadError, match="holds no request body"):
        run_load(programs.load_generator, Target(1, empty), concurrency=1, seconds=1)
