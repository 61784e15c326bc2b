"""The composition root: the only place that makes the gateway's parts and knows them all.

`build_app` wires them and opens nothing. Start-up (the ASGI lifespan) loads keys, asks the pool for its health and
loads the router; a part that cannot start ends it with one line. With `drains_on_signal`, SIGTERM and SIGINT first let
running requests finish (gateway/http/drain.py) and only then reach the server; the same signal again, more than a
second later, reaches it at once.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.guard import Guard
from gateway.access.keyring import Keyring
from gateway.access.keys import KeyRecord
from gateway.cache.response_cache import ResponseCache, build_response_cache
from gateway.control.changes import Control
from gateway.control.follower import Follower
from gateway.control.live import Live, Serving
from gateway.control.store import build_control_state, build_control_store
from gateway.errors import GatewayError
from gateway.http.admin import Admin
from gateway.http.api import build_api
from gateway.http.decision_log import DecisionLog
from gateway.http.drain import Drain
from gateway.http.edge import Edge
from gateway.http.report import Report
from gateway.http.server import WorkerServer, server_config
from gateway.http.walk import Walk
from gateway.observability.decision_sink import DecisionSink
from gateway.observability.logs import configure, log_event
from gateway.observability.metrics import Metrics
from gateway.routing.base import EncoderAddress, Policy
from gateway.routing.registry import build_policy
from gateway.routing.router import build_router
from gateway.settings import PriceSettings, Settings
from gateway.state.base import State
from gateway.state.build import build_state
from gateway.upstream.base import Upstream
from gateway.upstream.client import HttpUpstream
from gateway.upstream.health import Servers
from router_core.errors import RouterCoreError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The same signal, so long after the first, is a second request to stop.
REPEAT_AFTER_S = 1.0
_logger = logging.getLogger(__name__)


class Gateway:
    """The ASGI app: the edge, and the life of the parts behind it."""

    def __init__(
        self,
        edge: ASGIApp,
        *,
        settings: Settings,
        state: State,
        control_state: State,
        cache_state: State,
        upstream: Upstream,
        servers: Servers,
        live: Live,
        follower: Follower,
        metrics: Metrics,
        report: Report,
        decision_sink: DecisionSink | None,
        cache: ResponseCache | None,
        drain: Drain,
        drains_on_signal: bool,
    ) -> None:
        self._edge = edge
        self._settings = settings
        self._state = state
        self._control_state = control_state
        self._cache_state = cache_state
        self._upstream = upstream
        self._servers = servers
        self._live = live
        self._follower = follower
        self._metrics = metrics
        self._report = report
        self._decision_sink = decision_sink
        self._cache = cache
        self.drain = drain
        self._signals = _StopSignals(drain) if drains_on_signal else None
        self.start_error: GatewayError | RouterCoreError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or live through start-up and shutdown."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._edge(scope, receive, send)

    async def start(self) -> None:
        """Start every part. Raises GatewayError or RouterCoreError with one clear line."""
        if self._decision_sink is not None:
            self._decision_sink.start()
        if self._settings.state.redis_url is not None:
            self._metrics.dependency_up("redis", await self._state.ping())
        await self._follower.start()
        self._metrics.start()
        if self._signals is not None:
            self._signals.listen()

    async def aclose(self) -> None:
        """Stop every part, in the opposite order."""
        if self._signals is not None:
            self._signals.ignore()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._metrics.aclose)
            # A part that fails to stop does not keep the others from stopping.
            if self._decision_sink is not None:
                stack.push_async_callback(self._decision_sink.aclose)
            stack.callback(self._report.tell)
            stack.push_async_callback(self._state.aclose)
            stack.push_async_callback(self._control_state.aclose)
            stack.push_async_callback(self._cache_state.aclose)
            if self._cache is not None:
                stack.push_async_callback(self._cache.aclose)
            for part in (self._upstream, self._servers, self._live, self._follower):
                stack.push_async_callback(part.aclose)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except (GatewayError, RouterCoreError) as error:
            await self.aclose()
            self.start_error = error
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        log_event(_logger, "started", models=len(self._settings.models), policy=self._settings.router.policy)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _StopSignals:
    """Stands between the process's stop signals and the handlers that were there before (the server's)."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._before: dict[int, Any] = {}
        self._received: dict[int, float] = {}
        self._draining: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Take the signals over. Only a process's main thread may."""
        loop = asyncio.get_running_loop()

        def on_signal(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._stop, number)

        self._before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}

    def ignore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop(self, number: int) -> None:
        now = time.monotonic()
        if self._draining is None:
            log_event(_logger, "stopping", signal=signal.Signals(number).name)
            self._draining = asyncio.create_task(self._drain_then(number), name="drain")
        # A supervisor or a terminal signals every worker, and then their parent does: that is no second request.
        elif now - self._received.get(number, now) > REPEAT_AFTER_S:
            self._pass_on(number)
        self._received.setdefault(number, now)

    async def _drain_then(self, number: int) -> None:
        await self._drain.finish()
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        handler: Callable[[int, FrameType | None], object] | Any = self._before.get(number)
        if callable(handler):
            handler(number, None)


def build_app(
    settings: Settings,
    *,
    encoder_socket: Path | None = None,
    drains_on_signal: bool = False,
    upstream: Upstream | None = None,
) -> Gateway:
    """The gateway of `settings`, not started. Raises ConfigError.

    A neural encoder is asked at `encoder_socket`; `upstream` stands in for the HTTP client.
    """
    metrics = Metrics([model.name for model in settings.models])
    state = build_state(settings, on_change=lambda is_up: metrics.dependency_up("redis", is_up))
    upstream = upstream or HttpUpstream(settings.upstream)
    servers = Servers(settings.upstream, upstream, metrics)
    encoder = None
    if encoder_socket is not None:
        encoder = EncoderAddress(encoder_socket, on_change=lambda is_up: metrics.dependency_up("encoder", is_up))
    keyring = Keyring() if settings.access.require_keys else None
    guard = Guard(keyring, state, settings)
    decision_sink = _decision_sink(settings, metrics)
    # Its own, so that a burst of answers keeps no connection from limits and sessions, nor opens their breaker.
    cache_state = build_state(settings)
    cache = build_response_cache(settings, cache_state, metrics)

    def build(settings: Settings, policy: Policy | None) -> Serving:
        pool = servers.pool(settings.models)
        prices: dict[str | None, PriceSettings | None] = {model.name: model.price for model in settings.models}
        router = build_router(settings, pool, state, policy or build_policy(settings, encoder))
        return Serving(0, settings, pool, router, prices)

    def on_switch(serving: Serving) -> None:
        metrics.serve(serving.version, [model.name for model in serving.settings.models])
        metrics.bundle(serving.router.bundle_digest, serving.settings.router.policy)

    def take_keys(records: Iterable[KeyRecord]) -> None:
        if keyring is not None:
            keyring.replace(records)

    live = Live(settings, build=build, servers=servers, on_switch=on_switch)
    control_state = build_control_state(settings)
    store = build_control_store(settings, control_state)
    follower = Follower(store, live, metrics, settings.control.poll_interval_s, take_keys)
    drain = Drain(settings.server.shutdown_grace_s)
    decision_log = None if decision_sink is None else DecisionLog(decision_sink, settings.decisions)
    report = Report(metrics, logs_access=settings.log.access, decision_log=decision_log)
    api = build_api(
        guard=guard,
        live=live,
        metrics=metrics,
        report=report,
        drain=drain,
        started_at=int(time.time()),
    )
    Admin(guard=guard, control=Control(settings, store), follower=follower, live=live, server=settings.server).add_to(
        api
    )
    edge = Edge(
        api,
        settings=settings,
        guard=guard,
        live=live,
        walk=Walk(upstream, settings.upstream.health_interval_s),
        report=report,
        drain=drain,
        cache=cache,
    )
    return Gateway(
        edge,
        settings=settings,
        state=state,
        control_state=control_state,
        cache_state=cache_state,
        upstream=upstream,
        servers=servers,
        live=live,
        follower=follower,
        metrics=metrics,
        report=report,
        decision_sink=decision_sink,
        cache=cache,
        drain=drain,
        drains_on_signal=drains_on_signal,
    )


def _decision_sink(settings: Settings, metrics: Metrics) -> DecisionSink | None:
    decisions = settings.decisions
    if decisions.path is None:
        return None
    return DecisionSink(
        decisions.path, max_file_bytes=decisions.max_file_bytes, max_files=decisions.max_files, metrics=metrics
    )


def serve_worker(settings: Settings, encoder_socket: Path | None, channel: socket.socket) -> None:
    """What each of several worker processes does, with the connections that its parent hands it through `channel`."""
    configure(settings.log.level, sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    app = build_app(settings, encoder_socket=encoder_socket, drains_on_signal=True)
    server = WorkerServer(server_config(app, settings.server.client_stall_timeout_s), channel)
    app.drain.on_begin = server.say_ending
    try:
        run_server(server)
    except SystemExit:
        log_event(_logger, "not_started", level=logging.ERROR, why=str(app.start_error))
        raise


def run_server(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    """Run `server` until a stop signal. Raises SystemExit if its app could not start."""

    def stop(_: int, __: FrameType | None) -> None:
        # Before the server has taken the signals over; and once more when it is done, for uvicorn raises them again.
        server.should_exit = True

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    server.run(sockets)
