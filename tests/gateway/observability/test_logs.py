"""Logs: one line of JSON per record, whatever it holds. F40, F46."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.access.keys import new_key
from gateway.errors import UpstreamTimeoutError
from gateway.observability.logs import JsonFormatter, configure, log_event

LOGGER = logging.getLogger("gateway.test")


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


def formatted(event: str, **fields: object) -> str:
    record = LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, event, (), None, extra={"gateway_fields": fields})
    return JsonFormatter().format(record)


def test_an_event_is_one_object_with_its_fields_after_its_head(stream: io.StringIO) -> None:
    log_event(LOGGER, "request", status=200, model="alpha", seconds=0.25, ids=("a", "b"), key=None)
    line = json.loads(stream.getvalue())
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "gateway.test",
        "event": "request",
        "status": 200,
        "model": "alpha",
        "seconds": 0.25,
        "ids": ["a", "b"],
        "key": None,
    }


def test_levels_below_the_configured_one_are_left_out(stream: io.StringIO) -> None:
    log_event(LOGGER, "quiet", level=logging.DEBUG)
    log_event(LOGGER, "loud", level=logging.ERROR)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_configuring_twice_writes_once() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    first, second = io.StringIO(), io.StringIO()
    try:
        configure("info", first)
        configure("warning", second)
        log_event(LOGGER, "once", level=logging.WARNING)
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.text(), st.dictionaries(st.text().filter(lambda name: name not in {"self", "event"}), JSON_VALUES, max_size=4)
)
def test_any_record_is_one_line_of_plain_ascii_json(event: str, fields: dict[str, Any]) -> None:
    line = formatted(event, **fields)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["logger"] == "gateway.test"


def test_newlines_and_terminal_escapes_come_out_as_json_escapes() -> None:
    line = formatted("request", model='a\n{"event": "forged"}\x1b[2J\u2028')
    assert json.loads(line)["model"] == 'a\n{"event": "forged"}\x1b[2J\u2028'
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_field_cannot_pass_for_the_head() -> None:
    line = json.loads(formatted("request", time="never", level="none", logger="other"))
    assert (line["level"], line["logger"], line["event"]) == ("info", "gateway.test", "request")


def test_long_texts_are_cut() -> None:
    assert len(formatted("request", path="/" * 1_000_000)) < 4_000


def test_keys_and_tokens_are_struck_out(stream: io.StringIO) -> None:
    key = new_key("alice").text
    log_event(LOGGER, "request", header=f"Bearer {key}", raw=key, nested={"list": [f"bearer sk-{key}"]})
    LOGGER.warning("a library says %s", {"authorization": "Bearer sk-abc.def/ghi="})
    LOGGER.warning("cut in the middle: %s", key[:-5])
    assert key.split("_", 2)[2][:20] not in stream.getvalue()
    assert "sk-abc" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 3


def test_objects_are_named_not_printed() -> None:
    class Prompt:
        def __repr__(self) -> str:
            return "canary prompt"

    line = formatted("request", prompt=Prompt(), secret=SecretStr("canary"), raw=b"canary", items=[Prompt()])
    assert "canary" not in line
    assert json.loads(line)["prompt"] == "<Prompt>"


def test_a_librarys_exception_shows_where_but_not_what(stream: io.StringIO) -> None:
    try:
        int("canary prompt")
    except ValueError:
        LOGGER.exception("unexpected")
    line = json.loads(stream.getvalue())
    assert line["exception"]["type"] == "ValueError"
    assert "test_logs.py" in line["exception"]["places"][-1]
    assert "canary" not in stream.getvalue()


def test_the_gateways_own_error_shows_its_message(stream: io.StringIO) -> None:
    try:
        raise UpstreamTimeoutError("no first byte within 300 s")
    except UpstreamTimeoutError:
        LOGGER.exception("upstream")
    assert json.loads(stream.getvalue())["exception"]["message"] == "no first byte within 300 s"


def test_a_librarys_bad_format_string_is_still_a_line() -> None:
    record = LOGGER.makeRecord(LOGGER.name, logging.WARNING, "", 0, "%d requests", ("many",), None)
    assert json.loads(JsonFormatter().format(record))["event"] == "%d requests"
