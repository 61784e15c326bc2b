"""Structured logs: one JSON object a line.

Promises: a record is one line of ASCII whatever it holds (newlines, terminal escapes and other control characters come
out as JSON escapes); texts are cut at MAX_TEXT_CHARACTERS; API keys and bearer tokens are struck out; an exception is
shown as its class and the places it passed, with its message only if it is the gateway's own, because a library's
message may quote what a client sent. Callers never hand over prompts.
Leaves out sampling and files: the process writes to one stream and the platform does the rest.
"""

import asyncio
import contextlib
import functools
import json
import logging
import math
import re
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final, TextIO

import msgspec

from gateway.errors import GatewayError

MAX_TEXT_CHARACTERS: Final = 2048
MAX_DEPTH: Final = 4
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PLAIN: Final = frozenset({type(None), bool, int, str, float})
# What every text that _SECRET strikes out holds.
_SECRET_MARKS: Final = ("rdc_", "earer")
# The attributes of a record that say where it comes from, or what it carries beside its event.
_NO_PLACE: Final[Mapping[str, object]] = {
    **vars(logging.LogRecord("", logging.INFO, "", 0, "", (), None)),
    **dict.fromkeys(("process", "processName", "thread", "threadName", "taskName")),
}
_encode = msgspec.json.Encoder().encode
_SECRET = re.compile(r"(rdc_[0-9a-f]{1,16}_|[Bb]earer\s+)[A-Za-z0-9._~+/=-]+")


def configure(level: str, stream: TextIO) -> None:
    """Send every record of at least `level` (debug, info, warning, error) to `stream`, one JSON object a line.

    Replaces the root logger's handlers, so it may be called again; libraries' records take the same form.
    """
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(stream)]
    root.setLevel(_LEVELS[level])


def log_event(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one line: `event` is its name (snake_case), `fields` are JSON values. Never a prompt, never a key."""
    if logger.isEnabledFor(level):
        logger.handle(EventRecord(logger.name, level, event, fields))


def line_handler() -> "JsonHandler | None":
    """The handler that `configure` put in place, None if others want to see records too."""
    handlers = logging.root.handlers
    return handlers[0] if len(handlers) == 1 and isinstance(handlers[0], JsonHandler) else None


class EventRecord(logging.LogRecord):
    """A record without the place it comes from: finding that out costs more than writing the line."""

    def __init__(self, name: str, level: int, event: str, fields: Mapping[str, object]) -> None:
        # Not the library's constructor, which is what costs.
        self.__dict__.update(_NO_PLACE)
        self.name = name
        self.msg = event
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.msecs = self.created % 1 * 1000
        self.gateway_fields = fields


class JsonHandler(logging.StreamHandler[TextIO]):
    """Writes records, and lines that were never records, to a stream. One that takes nothing fails no request."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter())
        self._waiting: list[str] = []

    def write_soon(self, line: str) -> None:
        """Write a line of the event loop's with the others of this turn of it, before any later record."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(line)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._write_waiting()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits; at the process's end the logging library calls this too."""
        with self.lock or contextlib.nullcontext():
            self._write_waiting()
            # As the library does with a record that cannot be written; there is no other place to tell it.
            with contextlib.suppress(OSError, ValueError):
                super().flush()

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            with contextlib.suppress(OSError, ValueError):
                self.stream.write("\n".join(waiting) + "\n")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        fields: Mapping[str, object] = getattr(record, "gateway_fields", {})
        head = {
            "time": shown_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _message(record),
        }
        if record.exc_info is None or record.exc_info[1] is None:
            line = _plain_line(head, fields)
            if line is not None:
                return line
        safe = {_safe_text(name): _safe(value, 0) for name, value in fields.items()}
        if record.exc_info is not None and record.exc_info[1] is not None:
            safe["exception"] = _exception(record.exc_info[1])
        head["event"] = _safe_text(head["event"])
        return json.dumps(head | safe | head, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def shown_time(time_s: float) -> str:
    """A Unix time in ISO 8601, UTC, with milliseconds."""
    second = int(time_s)
    return f"{_shown_second(second)}.{int((time_s - second) * 1000):03d}+00:00"


@functools.lru_cache(maxsize=2)
def _shown_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def encoded_line(line: object) -> str | None:
    """A JSON value in one line as it is, if nothing in it has to be escaped, cut or struck out; else None."""
    try:
        text = _encode(line).decode()
    except (OverflowError, UnicodeEncodeError):
        return None
    may_hold_secret = _SECRET_MARKS[0] in text or _SECRET_MARKS[1] in text
    is_plain = len(text) <= MAX_TEXT_CHARACTERS and text.isascii() and text.isprintable()
    return text if is_plain and not may_hold_secret else None


def _plain_line(head: Mapping[str, str], fields: Mapping[str, object]) -> str | None:
    """The line of an event that needs nothing escaped, cut or struck out, as nearly all do; None for another."""
    if not _PLAIN.issuperset(map(type, fields.values())):
        return None
    # JSON has no word for a float that is not finite; `null` would say something else.
    if any(type(value) is float and not math.isfinite(value) for value in fields.values()):
        return None
    return encoded_line({**head, **fields, **head})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # A library's format string and its arguments disagree; its record is still worth a line.
        return str(record.msg)


def _safe(value: object, depth: int) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _safe_text(value)
    if depth < MAX_DEPTH and isinstance(value, dict):
        return {_safe_text(str(name)): _safe(item, depth + 1) for name, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_safe(item, depth + 1) for item in value]
    # Anything else might print what it holds; its type is enough to find the caller.
    return f"<{type(value).__name__}>"


def _safe_text(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "..."
    return _SECRET.sub(r"\1***", cut)


def _exception(error: BaseException) -> dict[str, Any]:
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    shown: dict[str, Any] = {"type": type(error).__name__, "places": places[-20:]}
    if isinstance(error, GatewayError):
        shown["message"] = _safe_text(error.message)
    return shown
