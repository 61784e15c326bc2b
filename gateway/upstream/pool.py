"""The replicas of every model, and what is known of the servers that hold them.

Promises: one owned task asks each distinct server's health path every `upstream.health_interval_s`, each check with its
own deadline; several models on one engine cost one check. A server that cannot be connected to is down at once, until
its next good check. Every `upstream.listing_interval_s`, and when it comes up, a server is asked for its `/v1/models`,
since an adapter can be loaded and unloaded while it runs; one that does not say is taken to hold what is configured.
Among a model's replicas balancing.py chooses; a server that has `upstream.max_connections_per_replica` requests in
flight is not chosen, and nobody queues for it.
Leaves out ejection by error rate and slow start.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.errors import GatewayError
from gateway.observability.logs import log_event
from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.balancing import Balancing
from gateway.upstream.base import Replica, Server, Upstream, root_of

MAX_LISTING_BYTES: Final = 1024 * 1024
_logger = logging.getLogger(__name__)


class ReplicaGauge(Protocol):
    """Where the pool reports what it knows of replicas."""

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        """Set the health of one replica."""

    def upstream_lists_model(self, model: str, replica_index: int, is_listed: bool) -> None:
        """Set whether a replica's server lists the model."""


class InUse:
    """A context that counts a request in flight on a server."""

    __slots__ = ("_server",)

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self._server.in_flight -= 1


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed]


_read_listing = msgspec.json.Decoder(_Listing).decode


class Pool:
    """Replicas by model. Nothing is healthy until `start` has asked."""

    def __init__(
        self,
        models: Sequence[ModelSettings],
        settings: UpstreamSettings,
        upstream: Upstream,
        gauge: ReplicaGauge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._gauge = gauge
        self._clock = clock
        servers: defaultdict[str, Server] = defaultdict(Server)
        self._balancing = {
            model.name: Balancing(
                replicas_of(model, servers),
                most_in_flight=settings.max_connections_per_replica,
                load_factor=settings.session_load_factor,
            )
            for model in models
        }
        # What each server holds; the first replica is the one whose address and key it is asked with.
        self._held: defaultdict[Server, list[Replica]] = defaultdict(list)
        for balancing in self._balancing.values():
            for replica in balancing.replicas:
                self._held[replica.server].append(replica)
        self._list_at: dict[Server, float] = {}
        self._turn = itertools.count(1)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask every server once, then keep asking."""
        await self.check()
        self._task = asyncio.create_task(self._check_forever(), name="pool health")

    async def aclose(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def is_healthy(self, model: str) -> bool:
        """True if at least one replica of the model answers."""
        balancing = self._balancing.get(model)
        return balancing is not None and balancing.is_healthy()

    def choose(
        self, model: str, passed_over: Collection[Replica] = (), headers: Mapping[str, str] | None = None
    ) -> Replica | None:
        """The replica to ask next, None if every one besides `passed_over` is down or full.

        `headers` are the request's, lower-case names: `upstream.affinity_header` among them makes a session.
        """
        name = self._settings.affinity_header
        session = headers.get(name) if headers is not None and name is not None else None
        return self._balancing[model].choose(passed_over, session)

    def in_use(self, replica: Replica) -> InUse:
        """A context around a request to the replica, which it counts as in flight on its server."""
        replica.server.last_used = next(self._turn)
        return InUse(replica.server)

    def mark_down(self, replica: Replica) -> None:
        """No connection could be made to the replica's server: down for every model on it, until a check is good."""
        self._set_health(replica.server, is_healthy=False)

    async def check(self) -> None:
        """Ask every server once, all at the same time."""
        await asyncio.gather(*(self._check(server) for server in self._held))

    async def _check(self, server: Server) -> None:
        replica = self._held[server][0]
        is_healthy = await self._get(replica, replica.root_url + self._settings.health_path) is not None
        now = self._clock()
        if is_healthy and (not server.is_healthy or now >= self._list_at[server]):
            self._list_at[server] = now + self._settings.listing_interval_s
            names = await self._names_on(replica)
            # One late answer from a server that was up all along makes nothing unknown.
            self._set_listed(server, server.listed if names is None and server.is_healthy else names)
        self._set_health(server, is_healthy=is_healthy)

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.health_interval_s)
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - border: one odd answer must not freeze every model's health
                log_event(_logger, "health_check_failed", level=logging.ERROR, error=type(error).__name__)

    async def _names_on(self, replica: Replica) -> frozenset[str] | None:
        """What the replica's server lists; None if it does not say, or nothing."""
        body = await self._get(replica, replica.base_url + "/models")
        try:
            return None if body is None else frozenset(entry.id for entry in _read_listing(body).data) or None
        except msgspec.MsgspecError:
            return None

    async def _get(self, replica: Replica, url: str) -> bytes | None:
        """The beginning of the body if the answer is 2xx and comes in time."""
        headers = {"accept-encoding": "identity"}
        if replica.api_key is not None:
            headers["authorization"] = f"Bearer {replica.api_key}"
        try:
            async with asyncio.timeout(self._settings.health_timeout_s):
                answer = await self._upstream.send(replica, method="GET", url=url, headers=headers, body=b"")
                try:
                    body = bytearray()
                    while chunk := await answer.read():
                        body += chunk[: MAX_LISTING_BYTES - len(body)]
                    return bytes(body) if 200 <= answer.status < 300 else None
                finally:
                    answer.close()
        except (GatewayError, TimeoutError):
            return None

    def _set_health(self, server: Server, *, is_healthy: bool) -> None:
        has_changed = server.is_healthy != is_healthy
        server.is_healthy = is_healthy
        for replica in self._held[server]:
            self._gauge.upstream_health(replica.model, replica.index, is_healthy)
            if has_changed:
                event = "replica_up" if is_healthy else "replica_down"
                level = logging.INFO if is_healthy else logging.WARNING
                log_event(_logger, event, level=level, model=replica.model, replica=replica.index)

    def _set_listed(self, server: Server, names: frozenset[str] | None) -> None:
        replicas = self._held[server]
        before = [replica.is_listed for replica in replicas]
        server.listed = names
        for replica, was_listed in zip(replicas, before, strict=True):
            self._gauge.upstream_lists_model(replica.model, replica.index, replica.is_listed)
            if replica.is_listed != was_listed:
                event = "model_listed" if replica.is_listed else "model_not_listed"
                level = logging.INFO if replica.is_listed else logging.WARNING
                log_event(_logger, event, level=level, model=replica.model, replica=replica.index)


def replicas_of(model: ModelSettings, servers: defaultdict[str, Server]) -> list[Replica]:
    """The replicas of a configured model, in order; `servers` by root URL."""
    return [
        Replica(
            model=model.name,
            index=index,
            base_url=replica.base_url,
            api_key=None if replica.api_key is None else replica.api_key.get_secret_value(),
            served_name=model.served_name,
            server=servers[root_of(replica.base_url)],
        )
        for index, replica in enumerate(model.replicas)
    ]
