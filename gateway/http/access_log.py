"""The access log: one line per request, without prompts or keys.

A line is built and encoded at once and written with those of the same turn of the event loop; the way through the
logging library costs a request three times as much. It is taken only by a line that holds something to escape, to cut
or to strike out, and where others than the gateway's own handler listen.
"""

import logging

import msgspec

from gateway.http.record import Record
from gateway.observability.logs import encoded_line, line_handler, log_event, shown_time

_logger = logging.getLogger("gateway.access_log")
_HEAD = ("time", "level", "logger", "event")


class _Line(msgspec.Struct):
    time: str
    level: str
    logger: str
    event: str
    request_id: str
    endpoint: str
    status: int
    outcome: str
    error: str | None
    model: str | None
    reason: str | None
    detail: str | None
    cache: str | None
    response_cache: str | None
    decision_id: str | None
    stream: bool
    attempts: int
    key: str | None
    duration_ms: float
    overhead_ms: float | None
    first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None


def log_request(record: Record) -> None:
    """Write the line of a request that is over."""
    if not _logger.isEnabledFor(logging.INFO):
        return
    line, handler = _line(record), line_handler()
    encoded = None if handler is None else encoded_line(line)
    if handler is None or encoded is None:
        fields = {name: value for name, value in msgspec.structs.asdict(line).items() if name not in _HEAD}
        log_event(_logger, line.event, **fields)
    else:
        handler.write_soon(encoded)


def _line(record: Record) -> _Line:
    decision, usage, duration_s = record.decision, record.usage, record.duration_s
    return _Line(
        shown_time(record.began_at_s + duration_s),
        "info",
        _logger.name,
        "request",
        record.request_id,
        record.endpoint,
        record.status,
        record.outcome,
        record.error_code,
        record.model,
        record.reason,
        decision.detail or None if decision is not None else None,
        decision.cache if decision is not None else None,
        record.response_cache,
        decision.decision_id if decision is not None else None,
        record.is_stream,
        record.attempts,
        record.key_id,
        round(duration_s * 1000, 2),
        _milliseconds(record.overhead_s),
        _milliseconds(record.first_token_s),
        usage.input_tokens if usage is not None else None,
        usage.output_tokens if usage is not None else None,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
