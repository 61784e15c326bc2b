"""Turns records into metrics and log lines, which never hold a prompt, a key, or a name that a client made up.

Requests that are over are gathered and told of together, GATHER_S later or once there are MOST_GATHERED: what one by
one would find every cache of the processor cold costs half as much in a row. Metrics that are rendered, and a process
that stops, `tell` first. The decision log, where there is one, has its own rules (decision_log.py).
"""

import asyncio
import logging
import time
from typing import Final

from gateway.http.access_log import log_request
from gateway.http.decision_log import DecisionLog
from gateway.http.record import Record
from gateway.observability.metrics import Metrics

GATHER_S: Final = 0.02
# So few that nobody waits for them: some hundred microseconds.
MOST_GATHERED: Final = 32
_logger = logging.getLogger(__name__)


class Report:
    """`logs_access` writes one line per request, `decision_log` one record per decision."""

    def __init__(self, metrics: Metrics, *, logs_access: bool, decision_log: DecisionLog | None = None) -> None:
        self._metrics = metrics
        self._decision_log = decision_log
        self._logs_access = logs_access
        self._gathered: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None

    def finished(self, record: Record) -> None:
        """The request is over, however it ended."""
        record.ended = time.perf_counter()
        gathered = self._gathered
        gathered.append(record)
        if len(gathered) >= MOST_GATHERED:
            self.tell()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._on_timer)

    def tell(self) -> None:
        """Tell of the requests that are over."""
        gathered, self._gathered = self._gathered, []
        for record in gathered:
            try:
                self._tell_of(record)
            except Exception as error:  # the border: a record that cannot be told of must not cost the others
                _logger.exception("record_lost", exc_info=error)

    def _tell_of(self, record: Record) -> None:
        self._count(record)
        if self._decision_log is not None:
            self._decision_log.finished(record)
        if self._logs_access:
            log_request(record)

    def _on_timer(self) -> None:
        # Left to ring where `tell` came before it: to take it back for every full gathering would cost more.
        self._timer = None
        self.tell()

    def _count(self, record: Record) -> None:
        metrics, decision, model = self._metrics, record.decision, record.model
        metrics.request_finished(record.endpoint, model, record.status, record.outcome, record.duration_s)
        if record.body_read is not None and record.parsed is not None:
            metrics.overhead("parse", record.parsed - record.body_read)
        if record.sent_upstream is not None and record.answered is not None:
            metrics.overhead("upstream", record.answered - record.sent_upstream)
        if decision is not None:
            metrics.decided(model or decision.choice.model, record.reason or decision.reason)
            if decision.cache is not None:
                metrics.looked_up(decision.cache)
            if decision.encode_s:
                metrics.overhead("encode", decision.encode_s)
            if decision.score_s:
                metrics.overhead("score", decision.score_s)
        if model is None:
            return
        if record.first_token_s is not None:
            metrics.first_token(model, record.first_token_s)
        if record.usage is not None:
            metrics.tokens(model, "input", record.usage.input_tokens)
            metrics.tokens(model, "output", record.usage.output_tokens)
