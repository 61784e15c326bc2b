"""The access log's line, on its short way and on that through the logging library."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway.access.keys import new_key
from gateway.http.access_log import log_request
from gateway.http.record import Record
from gateway.observability.logs import configure, log_event
from gateway.routing.base import Decision, RankedModel


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the configured root logger writes; what it was before is put back."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    stream = io.StringIO()
    configure("info", stream)
    yield stream
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def record(request_id: str = "abc", detail: str = "") -> Record:
    answered = Record("/v1/chat/completions", request_id)
    answered.status = 200
    answered.ended = answered.began + 0.25
    answered.decision = Decision("0" * 16, (RankedModel("alpha"),), "routed", detail=detail)
    return answered


async def lines(stream: io.StringIO) -> list[dict[str, object]]:
    await asyncio.sleep(0)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_request_is_one_line_with_its_head_first(stream: io.StringIO) -> None:
    log_request(record())
    (line,) = await lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"]) == ("info", "gateway.access_log", "request")
    assert (line["request_id"], line["status"], line["reason"], line["duration_ms"]) == ("abc", 200, "routed", 250.0)
    assert line["detail"] is line["model"] is None


@pytest.mark.parametrize("detail", ["", "two\nlines", "né", "x" * 5000, new_key("alice").text])
async def test_both_ways_write_the_same_fields(stream: io.StringIO, detail: str) -> None:
    """What has to be escaped, cut or struck out goes through the logging library, which does so."""
    log_request(record())
    log_request(record(detail=detail))
    plain, other = await lines(stream)
    assert plain | {"time": None, "detail": None} == other | {"time": None, "detail": None}
    assert len(stream.getvalue()) < 4000
    assert stream.getvalue().isascii()


async def test_a_key_given_as_request_id_is_struck_out(stream: io.StringIO) -> None:
    key = new_key("alice").text
    log_request(record(request_id=key))
    (line,) = await lines(stream)
    assert line["request_id"] == key[: len("rdc_") + 16 + 1] + "***"


async def test_lines_stand_in_the_order_of_events(stream: io.StringIO) -> None:
    log_request(record("first"))
    log_event(logging.getLogger("gateway.test"), "second")
    log_request(record("third"))
    shown = [line.get("request_id") or line["event"] for line in await lines(stream)]
    assert shown == ["first", "second", "third"]


async def test_nothing_waits_once_the_handlers_are_flushed(stream: io.StringIO) -> None:
    log_request(record())
    logging.root.handlers[0].flush()
    assert len(stream.getvalue().splitlines()) == 1


async def test_others_who_listen_get_a_record(stream: io.StringIO) -> None:
    seen: list[logging.LogRecord] = []
    other = logging.Handler()
    other.emit = seen.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(other)
    log_request(record())
    assert [entry.getMessage() for entry in seen] == ["request"]
    assert len(await lines(stream)) == 1


async def test_levels_above_info_write_none(stream: io.StringIO) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    log_request(record())
    assert await lines(stream) == []


async def test_a_stream_that_takes_nothing_fails_no_request(stream: io.StringIO) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    stream.close()
    log_request(record())
    await asyncio.sleep(0)
    log_event(logging.getLogger("gateway.test"), "after")
    assert faults == []
