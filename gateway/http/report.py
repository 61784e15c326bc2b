"""Turns records into metrics and log lines, which never hold a prompt, a key, or a name that a client made up.

The decision log, where there is one, has its own rules (decision_log.py).
"""

import logging
import time

from gateway.http.decision_log import DecisionLog
from gateway.http.record import Record
from gateway.observability.logs import log_event
from gateway.observability.metrics import Metrics

_access_logger = logging.getLogger("gateway.access_log")


class Report:
    """`logs_access` writes one line per request, `decision_log` one record per decision."""

    def __init__(self, metrics: Metrics, *, logs_access: bool, decision_log: DecisionLog | None = None) -> None:
        self._metrics = metrics
        self._decision_log = decision_log
        self._logs_access = logs_access

    def parsed(self, record: Record) -> None:
        """The body has been read and understood."""
        if record.body_read is not None:
            self._metrics.overhead("parse", time.perf_counter() - record.body_read)

    def answering(self, record: Record) -> None:
        """A model has begun to answer."""
        if record.sent_upstream is not None:
            self._metrics.overhead("upstream", time.perf_counter() - record.sent_upstream)

    def first_token(self, record: Record) -> None:
        """The first event of a stream is here."""
        record.first_token_s = time.perf_counter() - record.began
        if record.model is not None:
            self._metrics.first_token(record.model, record.first_token_s)

    def finished(self, record: Record) -> None:
        """The request is over, however it ended."""
        duration_s = time.perf_counter() - record.began
        metrics, decision, reason = self._metrics, record.decision, record.reason
        metrics.request_finished(record.endpoint, record.model, record.status, record.outcome, duration_s)
        if decision is not None and reason is not None:
            metrics.decided(record.model or decision.choice.model, reason)
            if decision.cache is not None:
                metrics.looked_up(decision.cache)
            if decision.encode_s:
                metrics.overhead("encode", decision.encode_s)
            if decision.score_s:
                metrics.overhead("score", decision.score_s)
        if record.model is not None and record.usage is not None:
            metrics.tokens(record.model, "input", record.usage.input_tokens)
            metrics.tokens(record.model, "output", record.usage.output_tokens)
        if self._decision_log is not None:
            self._decision_log.finished(record, duration_s)
        if self._logs_access:
            _write_line(record, duration_s)


def _write_line(record: Record, duration_s: float) -> None:
    decision, usage = record.decision, record.usage
    log_event(
        _access_logger,
        "request",
        request_id=record.request_id,
        endpoint=record.endpoint,
        status=record.status,
        outcome=record.outcome,
        error=record.error_code,
        model=record.model,
        reason=record.reason,
        detail=decision.detail or None if decision is not None else None,
        cache=decision.cache if decision is not None else None,
        decision_id=decision.decision_id if decision is not None else None,
        stream=record.is_stream,
        attempts=record.attempts,
        key=record.key_id,
        duration_ms=_milliseconds(duration_s),
        overhead_ms=_milliseconds(record.overhead_s),
        first_token_ms=_milliseconds(record.first_token_s),
        input_tokens=usage.input_tokens if usage is not None else None,
        output_tokens=usage.output_tokens if usage is not None else None,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
