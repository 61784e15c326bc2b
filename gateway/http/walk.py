"""Opens the exchange with a model: the decision's first candidate, or the next one that can be reached.

A candidate is passed over when no connection can be made to it, when its server says 503, and when within NOT_BEGUN_S
it closes before the first byte or says 502: in each case nothing has been generated that a client could have paid for.
After a deadline the model may still be working, and a server that was lost later may have died of the request, so it is
not sent again. Each replica is asked at most once.
"""

import logging
import time
from collections.abc import Iterator, Mapping

from gateway.errors import GatewayError, NoHealthyUpstreamError, UpstreamConnectError, UpstreamDisconnectedError
from gateway.http.endpoints import Endpoint
from gateway.http.failures import server_failure
from gateway.http.headers import upstream_headers
from gateway.http.peek import Peek
from gateway.http.record import Record
from gateway.observability.logs import log_event
from gateway.routing.base import Decision
from gateway.upstream.base import NOT_BEGUN_S, Replica, Upstream, UpstreamAnswer
from gateway.upstream.pool import InUse, Pool

_logger = logging.getLogger(__name__)


class _PassedOverError(Exception):
    """The replica cannot answer and has not begun to; `error` is what a client is told if none can."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.code)
        self.error = error


class Exchange:
    """An answer that has begun; as a context it gives the answer, and lets it go at the end, whole or not."""

    __slots__ = ("_answer", "_use")

    def __init__(self, answer: UpstreamAnswer, use: InUse) -> None:
        self._answer = answer
        self._use = use

    def __enter__(self) -> UpstreamAnswer:
        return self._answer

    def __exit__(self, *_: object) -> None:
        self._use.__exit__()
        self._answer.close()


class Walk:
    """Asks candidates in turn."""

    def __init__(self, upstream: Upstream, retry_after_s: float) -> None:
        self._upstream = upstream
        self._retry_after_s = retry_after_s

    async def open(
        self, pool: Pool, decision: Decision, seen: Peek, endpoint: Endpoint, headers: Mapping[str, str], record: Record
    ) -> "Exchange":
        """The exchange with the first candidate of `pool` that is not passed over; its answer has begun.

        Notes in `record` who was asked. Raises what the last candidate failed with, or NoHealthyUpstreamError.
        """
        error: GatewayError | None = None
        for replica in _replicas(pool, decision, headers, record):
            sent = upstream_headers(headers, record.request_id, replica)
            body = seen.body_for(replica.served_name)
            record.sent_upstream = time.perf_counter()
            use = pool.in_use(replica)
            use.__enter__()
            answer: UpstreamAnswer | None = None
            try:
                answer = await self._ask(replica, endpoint.url(replica), sent, body, record.sent_upstream)
            except _PassedOverError as passed_over:
                error = passed_over.error
                if isinstance(error, UpstreamConnectError) and not isinstance(error, UpstreamDisconnectedError):
                    pool.mark_down(replica)
                _log_passed_over(record, error.code)
                continue
            finally:
                if answer is None:
                    use.__exit__()
            return Exchange(answer, use)
        raise error or NoHealthyUpstreamError(
            f"no server of model {decision.choice.model!r} is up and free; try again shortly",
            retry_after_s=self._retry_after_s,
        )

    async def _ask(
        self, replica: Replica, url: str, headers: Mapping[str, str], body: bytes, sent: float
    ) -> UpstreamAnswer:
        """One exchange, up to the head of a good answer or a refusal. Raises _PassedOverError and upstream errors."""
        try:
            answer = await self._upstream.send(replica, method="POST", url=url, headers=headers, body=body)
        except UpstreamDisconnectedError as failure:
            if _may_have_begun(sent):
                raise
            raise _PassedOverError(failure) from failure
        except UpstreamConnectError as failure:
            raise _PassedOverError(failure) from failure
        failed = server_failure(answer, replica.model)
        if failed is None:
            return answer
        answer.close()
        if answer.status == 503 or (answer.status == 502 and not _may_have_begun(sent)):
            raise _PassedOverError(failed)
        raise failed


def _may_have_begun(sent: float) -> bool:
    return time.perf_counter() - sent > NOT_BEGUN_S


def _replicas(pool: Pool, decision: Decision, headers: Mapping[str, str], record: Record) -> Iterator[Replica]:
    """Every healthy replica of every candidate once, in order; health is looked up at each step."""
    for candidate in decision.candidates:
        asked: list[Replica] = []
        while (replica := pool.choose(candidate.model, asked, headers)) is not None:
            asked.append(replica)
            record.answering = candidate
            record.attempts += 1
            yield replica


def _log_passed_over(record: Record, code: str) -> None:
    log_event(
        _logger,
        "candidate_passed_over",
        level=logging.WARNING,
        request_id=record.request_id,
        model=record.model,
        error=code,
    )
