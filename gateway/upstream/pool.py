"""The replicas of every model, and which one is asked next: one state of the pool, which does not change.

Health is health.py's, the choice balancing.py's. A server that has `upstream.max_connections_per_replica` requests in
flight is not chosen, and nobody queues for it. When the models change there is a new pool; requests that run keep the
one that they began with.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.balancing import Balancing
from gateway.upstream.base import Replica, Server, root_of


class InUse:
    """A context that counts a request in flight on a server."""

    __slots__ = ("_server",)

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self._server.in_flight -= 1


class Pool:
    """Replicas by model, on the `servers` (by root URL) that are known and on new ones.

    `turns` count up; `mark_down` is told of a server that cannot be connected to. gateway/upstream/health.py makes one.
    """

    def __init__(
        self,
        models: Sequence[ModelSettings],
        settings: UpstreamSettings,
        servers: Mapping[str, Server],
        *,
        turns: Iterator[int],
        mark_down: Callable[[Server], None],
    ) -> None:
        self._affinity_header = settings.affinity_header
        self._mark_down = mark_down
        self.servers: dict[str, Server] = {}
        # What each server holds; the first replica is the one whose address and key it is asked with.
        self.held: defaultdict[Server, list[Replica]] = defaultdict(list)
        self._balancing: dict[str, Balancing] = {}
        self._turns = turns
        for model in models:
            replicas = [self._replica(model, index, servers) for index in range(len(model.replicas))]
            self._balancing[model.name] = Balancing(
                replicas,
                most_in_flight=settings.max_connections_per_replica,
                load_factor=settings.session_load_factor,
            )

    def replicas(self) -> Iterator[Replica]:
        """Every replica of every model."""
        for balancing in self._balancing.values():
            yield from balancing.replicas

    def served_name(self, model: str) -> str:
        """The name that the servers of a configured model know it by."""
        return self._balancing[model].replicas[0].served_name

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
        name = self._affinity_header
        session = headers.get(name) if headers is not None and name is not None else None
        return self._balancing[model].choose(passed_over, session)

    def in_use(self, replica: Replica) -> InUse:
        """A context around a request to the replica, which it counts as in flight on its server."""
        replica.server.last_used = next(self._turns)
        return InUse(replica.server)

    def mark_down(self, replica: Replica) -> None:
        """No connection could be made to the replica's server: down for every model on it, until a check is good."""
        self._mark_down(replica.server)

    def _replica(self, model: ModelSettings, index: int, servers: Mapping[str, Server]) -> Replica:
        configured = model.replicas[index]
        root = root_of(configured.base_url)
        server = self.servers.get(root) or servers.get(root) or Server()
        self.servers[root] = server
        replica = Replica(
            model=model.name,
            index=index,
            base_url=configured.base_url,
            api_key=None if configured.api_key is None else configured.api_key.get_secret_value(),
            served_name=model.served_name,
            server=server,
        )
        self.held[server].append(replica)
        return replica
