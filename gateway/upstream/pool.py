"""The replicas of every model, which of them are up, and which one is asked next.

Promises: one owned task asks each distinct server's health path every `upstream.health_interval_s`, each check with its
own deadline; several models on one engine cost one check. A server that cannot be connected to is down at once, until
its next good check. Among a model's healthy replicas the one whose server has the fewest requests in flight is chosen,
the longest unused among equals; one that has `upstream.max_connections_per_replica` of them is not chosen, and nobody
queues for it.
Leaves out ejection by error rate, slow start and affinity.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import GatewayError
from gateway.observability.logs import log_event
from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.base import Replica, Upstream

_logger = logging.getLogger(__name__)


class HealthGauge(Protocol):
    """Where the pool reports health."""

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        """Set the health of one replica."""


@dataclass(slots=True)
class _Server:
    """One address; it may hold replicas of several models."""

    replicas: list[Replica] = field(default_factory=list)
    is_healthy: bool = False
    in_flight: int = 0
    last_used: int = 0


class Pool:
    """Replicas by model. Nothing is healthy until `start` has asked."""

    def __init__(
        self, models: Sequence[ModelSettings], settings: UpstreamSettings, upstream: Upstream, gauge: HealthGauge
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._gauge = gauge
        self._replicas = {model.name: replicas_of(model) for model in models}
        self._servers: defaultdict[str, _Server] = defaultdict(_Server)
        for replica in itertools.chain.from_iterable(self._replicas.values()):
            self._servers[replica.root_url].replicas.append(replica)
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
        return any(self._servers[replica.root_url].is_healthy for replica in self._replicas.get(model, ()))

    def choose(self, model: str, passed_over: Collection[Replica] = ()) -> Replica | None:
        """The replica to ask next, None if every one besides `passed_over` is down or full."""
        most = self._settings.max_connections_per_replica
        usable = [
            (server.in_flight, server.last_used, replica.index, replica)
            for replica in self._replicas[model]
            if replica not in passed_over
            and (server := self._servers[replica.root_url]).is_healthy
            and server.in_flight < most
        ]
        return min(usable)[-1] if usable else None

    @contextlib.contextmanager
    def in_use(self, replica: Replica) -> Iterator[None]:
        """Count a request in flight on the replica's server."""
        server = self._servers[replica.root_url]
        server.in_flight += 1
        server.last_used = next(self._turn)
        try:
            yield
        finally:
            server.in_flight -= 1

    def mark_down(self, replica: Replica) -> None:
        """No connection could be made to the replica's server: down for every model on it, until a check is good."""
        self._set_health(self._servers[replica.root_url], is_healthy=False)

    async def check(self) -> None:
        """Ask every server once, all at the same time."""
        servers = list(self._servers.values())
        answers = await asyncio.gather(*(self._answers(server.replicas[0]) for server in servers))
        for server, is_healthy in zip(servers, answers, strict=True):
            self._set_health(server, is_healthy=is_healthy)

    async def _check_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.health_interval_s)
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - border: one odd answer must not freeze every model's health
                log_event(_logger, "health_check_failed", level=logging.ERROR, error=type(error).__name__)

    async def _answers(self, replica: Replica) -> bool:
        url = replica.root_url + self._settings.health_path
        headers = {"accept-encoding": "identity"}
        if replica.api_key is not None:
            headers["authorization"] = f"Bearer {replica.api_key}"
        try:
            async with asyncio.timeout(self._settings.health_timeout_s):
                answer = await self._upstream.send(replica, method="GET", url=url, headers=headers, body=b"")
                try:
                    while await answer.read():
                        pass
                    return 200 <= answer.status < 300
                finally:
                    answer.close()
        except (GatewayError, TimeoutError):
            return False

    def _set_health(self, server: _Server, *, is_healthy: bool) -> None:
        has_changed = server.is_healthy != is_healthy
        server.is_healthy = is_healthy
        for replica in server.replicas:
            self._gauge.upstream_health(replica.model, replica.index, is_healthy)
            if has_changed:
                event = "replica_up" if is_healthy else "replica_down"
                level = logging.INFO if is_healthy else logging.WARNING
                log_event(_logger, event, level=level, model=replica.model, replica=replica.index)


def replicas_of(model: ModelSettings) -> list[Replica]:
    """The replicas of a configured model, in order."""
    return [
        Replica(
            model=model.name,
            index=index,
            base_url=replica.base_url,
            api_key=None if replica.api_key is None else replica.api_key.get_secret_value(),
            served_name=model.served_name,
        )
        for index, replica in enumerate(model.replicas)
    ]
