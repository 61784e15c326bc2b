"""What is known of the servers that hold the models: which are up, and what they list.

Promises: one owned task asks each distinct server's health path every `upstream.health_interval_s`, each check with its
own deadline; several models on one engine cost one check. A server that cannot be connected to is down at once, until
its next good check. Every `upstream.listing_interval_s`, and when it comes up, a server is asked for its `/v1/models`,
since an adapter can be loaded and unloaded while it runs; one that does not say is taken to hold what is configured.
When the models change, a server that stays keeps its health and its count of requests, and one that is new is asked
before it is used.
Leaves out ejection by error rate and slow start.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.errors import GatewayError, OutOfDescriptorsError
from gateway.observability.logs import log_event
from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.base import Replica, Server, Upstream
from gateway.upstream.pool import Pool

MAX_LISTING_BYTES: Final = 1024 * 1024
_logger = logging.getLogger(__name__)


class ReplicaGauge(Protocol):
    """Where what is known of replicas is reported."""

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        """Set the health of one replica."""

    def upstream_lists_model(self, model: str, replica_index: int, is_listed: bool) -> None:
        """Set whether a replica's server lists the model."""

    def upstream_gone(self, model: str, replica_index: int) -> None:
        """Forget a replica that is not served any more."""


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed]


_read_listing = msgspec.json.Decoder(_Listing).decode


class Servers:
    """Asks the servers of the pool in use. Nothing is healthy until `start` has asked."""

    def __init__(
        self,
        settings: UpstreamSettings,
        upstream: Upstream,
        gauge: ReplicaGauge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._gauge = gauge
        self._clock = clock
        self._turns = itertools.count(1)
        self._pool = self._pool_on({}, ())
        self._list_at: dict[Server, float] = {}
        self._task: asyncio.Task[None] | None = None

    def pool(self, models: Sequence[ModelSettings]) -> Pool:
        """The replicas of `models`, on servers that are in use already where there are such."""
        return self._pool_on(self._pool.servers, models)

    async def prepare(self, pool: Pool) -> None:
        """Ask the servers of `pool` that are not in use yet."""
        known = self._pool.held
        await asyncio.gather(
            *(self._check(server, held[0]) for server, held in pool.held.items() if server not in known)
        )

    def use(self, pool: Pool) -> None:
        """From now on these servers are asked, and no others."""
        before, self._pool = self._pool, pool
        self._list_at = {server: at for server, at in self._list_at.items() if server in pool.held}
        kept = {(replica.model, replica.index) for replica in pool.replicas()}
        for replica in before.replicas():
            if (replica.model, replica.index) not in kept:
                self._gauge.upstream_gone(replica.model, replica.index)
        for server in pool.held:
            self._report(server, has_changed=server not in before.held and server.is_healthy)

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

    async def check(self) -> None:
        """Ask every server once, all at the same time."""
        await asyncio.gather(*(self._check(server, held[0]) for server, held in self._pool.held.items()))

    def _pool_on(self, servers: Mapping[str, Server], models: Sequence[ModelSettings]) -> Pool:
        return Pool(models, self._settings, servers, turns=self._turns, mark_down=self._mark_down)

    def _mark_down(self, server: Server) -> None:
        self._set_health(server, is_healthy=False)

    async def _check(self, server: Server, replica: Replica) -> None:
        try:
            is_healthy = await self._get(replica, replica.root_url + self._settings.health_path) is not None
        except OutOfDescriptorsError:
            # The server was not asked. What was known of it goes on.
            return
        now = self._clock()
        if is_healthy and (not server.is_healthy or now >= self._list_at.get(server, now)):
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
        try:
            body = await self._get(replica, replica.base_url + "/models")
            return None if body is None else frozenset(entry.id for entry in _read_listing(body).data) or None
        except (msgspec.MsgspecError, OutOfDescriptorsError):
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
        except OutOfDescriptorsError:
            raise
        except (GatewayError, TimeoutError):
            return None

    def _set_health(self, server: Server, *, is_healthy: bool) -> None:
        has_changed = server.is_healthy != is_healthy
        server.is_healthy = is_healthy
        self._report(server, has_changed=has_changed)

    def _report(self, server: Server, *, has_changed: bool) -> None:
        event, level = ("replica_up", logging.INFO) if server.is_healthy else ("replica_down", logging.WARNING)
        for replica in self._pool.held.get(server, ()):
            self._gauge.upstream_health(replica.model, replica.index, server.is_healthy)
            self._gauge.upstream_lists_model(replica.model, replica.index, replica.is_listed)
            if has_changed:
                log_event(_logger, event, level=level, model=replica.model, replica=replica.index)

    def _set_listed(self, server: Server, names: frozenset[str] | None) -> None:
        replicas = self._pool.held.get(server, [])
        before = [replica.is_listed for replica in replicas]
        server.listed = names
        for replica, was_listed in zip(replicas, before, strict=True):
            if replica.is_listed != was_listed:
                event = "model_listed" if replica.is_listed else "model_not_listed"
                level = logging.INFO if replica.is_listed else logging.WARNING
                log_event(_logger, event, level=level, model=replica.model, replica=replica.index)
