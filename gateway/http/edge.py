"""The hot path: a thin ASGI callable in front of the FastAPI app.

It takes the inference endpoints (gateway/http/endpoints.py) and hands every other path on. A request passes through
admission, body, peek, decision, upstream and relay, each in its own module; here is only their order, and what happens
when one of them fails: an HTTP error before the first byte, an error event in the stream after it, silence if the
client has left. Promises: an `x-request-id` on every answer; OpenAI's error shape, whatever goes wrong; one record per
request in metrics and in the log.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.base import Principal
from gateway.access.guard import Guard
from gateway.cache.response_cache import Found, ResponseCache, Turn
from gateway.control.live import Live, Serving
from gateway.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    GatewayError,
    MethodNotAllowedError,
    ShuttingDownError,
    UnsupportedEncodingError,
)
from gateway.http.body import read_body
from gateway.http.drain import Drain
from gateway.http.endpoints import ENDPOINTS, Endpoint, StreamEnd
from gateway.http.failures import refusal_of
from gateway.http.headers import header_map, request_id
from gateway.http.peek import Peek, peek, routing_request
from gateway.http.record import Record
from gateway.http.relay import read_answer, read_to_end, relay_stream
from gateway.http.report import Report
from gateway.http.responder import Responder
from gateway.http.usage import has_failed
from gateway.http.walk import Walk
from gateway.http.watch import ClientLeftError, Watch
from gateway.ids import hex_ids
from gateway.routing.base import Decision
from gateway.settings import Settings
from gateway.upstream.base import UpstreamAnswer

# After these a client may still be sending a body that nobody will read.
_CLOSING = (BodyTooLargeError, BodyTimeoutError, UnsupportedEncodingError, ShuttingDownError)
_JSON = ("content-type", "application/json")
_STREAM = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)
REQUEST_ID_DIGITS = 32
_logger = logging.getLogger(__name__)


class _Call(msgspec.Struct, frozen=True):
    """One inference request and the way to answer it."""

    endpoint: Endpoint
    method: str
    headers: Mapping[str, str]
    receive: Receive
    responder: Responder
    record: Record


class Edge:
    """The ASGI callable. `others` serves what is not inference; `cache` is None where nobody asks for one."""

    def __init__(
        self,
        others: ASGIApp,
        *,
        settings: Settings,
        guard: Guard,
        live: Live,
        walk: Walk,
        report: Report,
        drain: Drain,
        cache: ResponseCache | None = None,
    ) -> None:
        self._others = others
        self._server = settings.server
        self._upstream = settings.upstream
        self._guard = guard
        self._live = live
        self._walk = walk
        self._report = report
        self._drain = drain
        self._fresh_ids = hex_ids(REQUEST_ID_DIGITS)
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        headers = header_map(scope["headers"])
        identity = request_id(headers, self._fresh_ids)
        endpoint = ENDPOINTS.get(scope["path"])
        if endpoint is None:
            await self._others(scope, receive, _with_request_id(send, identity))
            return
        call = _Call(
            endpoint=endpoint,
            method=scope["method"],
            headers=headers,
            receive=receive,
            responder=Responder(send, self._server.client_stall_timeout_s),
            record=Record(endpoint.path, identity, shows_ranking=headers.get("x-gateway-debug") == "1"),
        )
        try:
            await self._answered(call)
        finally:
            self._report.finished(call.record)

    async def _answered(self, call: _Call) -> None:
        """Serve an inference request, and say what failed if something does."""
        try:
            self._drain.enter()
            try:
                await self._exchange(call)
            finally:
                self._drain.leave()
        except ClientLeftError:
            call.record.client_left()
        except asyncio.CancelledError:
            call.record.client_left()
            raise
        except GatewayError as error:
            await self._failed(error, call)
        except Exception as error:
            # The border: a fault of our own becomes a 500 in OpenAI's shape, and the log says where it happened.
            _logger.exception("internal_error", exc_info=error)
            await self._failed(GatewayError("the gateway failed; its log has the details"), call)

    async def _exchange(self, call: _Call) -> None:
        if call.method != "POST":
            raise MethodNotAllowedError(f"{call.endpoint.path} takes POST", extra_headers=[("allow", "POST")])
        record, server = call.record, self._server
        principal, record.limit_headers = await self._guard.admit(call.headers)
        record.key_id = principal.key_id
        body = await read_body(
            call.receive, call.headers, max_bytes=server.max_body_bytes, timeout_s=server.body_timeout_s
        )
        record.body_read = time.perf_counter()
        with Watch(call.receive) as watch:
            # In the turn of the last byte: from the next one on the server calls the client gone.
            call.responder.on_over = watch.over
            self._drain.attach(watch)
            try:
                await self._routed(call, principal, body)
            finally:
                self._drain.detach(watch)

    async def _routed(self, call: _Call, principal: Principal, body: bytes) -> None:
        record, endpoint, serving = call.record, call.endpoint, self._live.serving
        seen = peek(body)
        record.is_stream = seen.is_stream and endpoint.ends is not None
        is_routed = seen.model in serving.router.aliases
        record.serving, record.seen = serving, seen
        record.request = request = routing_request(seen, endpoint, principal, call.headers, is_routed=is_routed)
        record.parsed = time.perf_counter()
        decide = serving.router.decide(request) if is_routed else serving.router.pin(seen.model, request)
        record.decision = decision = await decide
        if self._cache is None:
            await self._asked(call, serving, decision, seen)
        else:
            await self._cached(self._cache, call, serving, decision, seen)

    async def _cached(
        self, cache: ResponseCache, call: _Call, serving: Serving, decision: Decision, seen: Peek
    ) -> None:
        record, model = call.record, decision.choice.model
        question = cache.question(
            key_id=record.key_id,
            path=call.endpoint.path,
            model=model,
            served_name=serving.pool.served_name(model),
            headers=call.headers,
            fields=seen.fields,
        )
        if question is None:
            await self._asked(call, serving, decision, seen)
            return
        found = await cache.find(question)
        if isinstance(found, Found):
            record.response_cache, record.answering = found.use, decision.choice
            await self._replayed(call, found.answer)
            return
        record.response_cache = "miss"
        with found:
            await self._asked(call, serving, decision, seen, found)

    async def _asked(
        self, call: _Call, serving: Serving, decision: Decision, seen: Peek, turn: Turn | None = None
    ) -> None:
        """Have a model answer; what it says is copied for `turn` if it may be kept."""
        record, endpoint = call.record, call.endpoint
        with await self._walk.open(serving.pool, decision, seen, endpoint, call.headers, record) as answer:
            record.answered = time.perf_counter()
            if turn is not None and (record.model != decision.choice.model or answer.status != 200):
                turn.give_up()
                turn = None
            if answer.status >= 400:
                await self._refused(call, answer)
            elif endpoint.ends is not None and seen.is_stream:
                await self._streamed(call, answer, endpoint.ends, turn)
            else:
                body, record.usage = await read_answer(answer, self._upstream.max_answer_bytes)
                if turn is not None:
                    turn.add(body)
                    _complete(turn)
                record.status = answer.status
                head = [_JSON, *record.headers(serving.prices.get(record.model))]
                await call.responder.whole(answer.status, head, body)

    async def _replayed(self, call: _Call, body: bytes) -> None:
        record, responder = call.record, call.responder
        record.status = 200
        if record.is_stream:
            await responder.begin(200, [*_STREAM, *record.headers()])
            await responder.end(body)
        else:
            await responder.whole(200, [_JSON, *record.headers()], body)

    async def _refused(self, call: _Call, answer: UpstreamAnswer) -> None:
        record, refusal = call.record, await refusal_of(answer)
        record.status, record.outcome, record.error_code = refusal.status, "client_error", "upstream_refused"
        head = [_JSON, *record.headers(), *refusal.headers, *_no_retry(record)]
        await call.responder.whole(refusal.status, _distinct(head), refusal.body)

    async def _streamed(self, call: _Call, answer: UpstreamAnswer, ends: StreamEnd, turn: Turn | None) -> None:
        record, responder = call.record, call.responder
        if turn is not None:
            responder.copy_to = turn.add

        async def begin() -> None:
            record.status = answer.status
            record.first_token = time.perf_counter()
            await responder.begin(answer.status, [*_STREAM, *record.headers()])

        ending = await relay_stream(answer, responder, begin, ends=ends, max_event_bytes=self._upstream.max_event_bytes)
        record.usage = ending.usage
        record.outcome = "stream_error" if ending.is_error else "ok"
        if turn is not None and not ending.is_error:
            _complete(turn)
        await responder.end()
        await read_to_end(answer)

    async def _failed(self, error: GatewayError, call: _Call) -> None:
        record, responder = call.record, call.responder
        if responder.is_over:
            return
        record.failed(error, has_begun=responder.has_begun)
        try:
            if responder.has_begun:
                await responder.end(error.sse_event() if record.is_stream else b"")
                return
            head = [_JSON, *record.headers(), *error.headers(), *_no_retry(record)]
            if isinstance(error, _CLOSING):
                head.append(("connection", "close"))
            await responder.whole(error.status, _distinct(head), error.body())
        except ClientLeftError:
            record.client_left()


def _complete(turn: Turn) -> None:
    """Keep the answer, unless it says itself that it failed."""
    if has_failed(turn.kept):
        turn.give_up()
    else:
        turn.complete()


def _no_retry(record: Record) -> list[tuple[str, str]]:
    """Official clients ask again on their own; where the gateway has already done so, that would only multiply."""
    return [("x-should-retry", "false")] if record.attempts > 1 else []


def _distinct(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict(headers).items())


def _with_request_id(send: Send, identity: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
        await send(message)

    return send_with_id
