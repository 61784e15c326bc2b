"""Opens the exchange with a model: the decision's first candidate, or the next one that can be reached.

A candidate is passed over when no connection can be made to it, when it closes before the first byte, and when its
server says 502 or 503: in each case nothing has been generated that a client could have paid for. After a deadline the
model may still be working, so the request is not sent again. Each replica is asked at most once.
"""

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from gateway.errors import GatewayError, NoHealthyUpstreamError, UpstreamConnectError, UpstreamDisconnectedError
from gateway.http.endpoints import Endpoint
from gateway.http.failures import server_failure
from gateway.http.headers import upstream_headers
from gateway.http.peek import Peek
from gateway.http.record import Record
from gateway.observability.logs import log_event
from gateway.routing.base import Decision
from gateway.upstream.base import Replica, Upstream, UpstreamAnswer
from gateway.upstream.pool import Pool

PASSED_OVER_STATUSES = frozenset({502, 503})
_logger = logging.getLogger(__name__)


class _PassedOverError(Exception):
    """The replica cannot answer and has not begun to; `error` is what a client is told if none can."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.code)
        self.error = error


class Walk:
    """Asks candidates in turn."""

    def __init__(self, pool: Pool, upstream: Upstream, retry_after_s: float) -> None:
        self._pool = pool
        self._upstream = upstream
        self._retry_after_s = retry_after_s

    @asynccontextmanager
    async def open(
        self, decision: Decision, seen: Peek, endpoint: Endpoint, headers: Mapping[str, str], record: Record
    ) -> AsyncIterator[UpstreamAnswer]:
        """The first answer that is not passed over; closed at the end of the block, whole or not.

        Notes in `record` who was asked. Raises what the last candidate failed with, or NoHealthyUpstreamError.
        """
        error: GatewayError = NoHealthyUpstreamError(
            f"no server of model {decision.choice.model!r} is up and free; try again shortly",
            retry_after_s=self._retry_after_s,
        )
        for replica in self._replicas(decision, headers, record):
            sent = upstream_headers(headers, record.request_id, replica)
            body = seen.body_for(replica.served_name)
            record.sent_upstream = time.perf_counter()
            with self._pool.in_use(replica):
                try:
                    answer = await self._ask(replica, endpoint.url(replica), sent, body)
                except _PassedOverError as passed_over:
                    error = passed_over.error
                    _log_passed_over(record, error.code)
                    continue
                try:
                    yield answer
                finally:
                    answer.close()
                return
        raise error

    def _replicas(self, decision: Decision, headers: Mapping[str, str], record: Record) -> Iterator[Replica]:
        """Every healthy replica of every candidate once, in order; health is looked up at each step."""
        for candidate in decision.candidates:
            asked: list[Replica] = []
            while (replica := self._pool.choose(candidate.model, asked, headers)) is not None:
                asked.append(replica)
                record.answering = candidate
                record.attempts += 1
                yield replica

    async def _ask(self, replica: Replica, url: str, headers: Mapping[str, str], body: bytes) -> UpstreamAnswer:
        """One exchange, up to the head of a good answer or a refusal. Raises _PassedOverError and upstream errors."""
        try:
            answer = await self._upstream.send(replica, method="POST", url=url, headers=headers, body=body)
        except UpstreamConnectError as failure:
            if not isinstance(failure, UpstreamDisconnectedError):
                self._pool.mark_down(replica)
            raise _PassedOverError(failure) from failure
        failed = server_failure(answer, replica.model)
        if failed is None:
            return answer
        answer.close()
        if answer.status in PASSED_OVER_STATUSES:
            raise _PassedOverError(failed)
        raise failed


def _log_passed_over(record: Record, code: str) -> None:
    log_event(
        _logger,
        "candidate_passed_over",
        level=logging.WARNING,
        request_id=record.request_id,
        model=record.model,
        error=code,
    )
