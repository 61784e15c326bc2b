"""Structured logs: one JSON object a line.

Promises: a record is one line of ASCII whatever it holds (newlines, terminal escapes and other control characters come
out as JSON escapes); texts are cut at MAX_TEXT_CHARACTERS; API keys and bearer tokens are struck out; an exception is
shown as its class and the places it passed, with its message only if it is the gateway's own, because a library's
message may quote what a client sent. Callers never hand over prompts.
Leaves out sampling and files: the process writes to one stream and the platform does the rest.
"""

import json
import logging
import math
import re
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from gateway.errors import GatewayError

MAX_TEXT_CHARACTERS: Final = 2048
MAX_DEPTH: Final = 4
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SECRET = re.compile(r"(rdc_[0-9a-f]{1,16}_|[Bb]earer\s+)[A-Za-z0-9._~+/=-]+")


def configure(level: str, stream: TextIO) -> None:
    """Send every record of at least `level` (debug, info, warning, error) to `stream`, one JSON object a line.

    Replaces the root logger's handlers, so it may be called again; libraries' records take the same form.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


def log_event(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one line: `event` is its name (snake_case), `fields` are JSON values. Never a prompt, never a key."""
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"gateway_fields": fields})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        fields: dict[str, object] = getattr(record, "gateway_fields", {})
        line: dict[str, Any] = {_safe_text(name): _safe(value, 0) for name, value in fields.items()}
        if record.exc_info is not None and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        line |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _safe_text(_message(record)),
        }
        head = ("time", "level", "logger", "event")
        return json.dumps({name: line[name] for name in head} | line, ensure_ascii=True, allow_nan=False)


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
