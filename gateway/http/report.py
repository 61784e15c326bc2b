"""Turns records into metrics and log lines, which never hold a prompt, a key, or a name that a client made up.

The decision log, where there is one, has its own rules (decision_log.py).
"""

import time

from gateway.http.access_log import log_request
from gateway.http.decision_log import DecisionLog
from gateway.http.record import Record
from gateway.observability.metrics import Metrics


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
            log_request(record, duration_s)
