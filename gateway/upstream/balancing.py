"""Which of a model's replicas is asked next: the one policy, in one file.

In order: a replica must be up, not full and not have been asked already; one whose server lists the model comes before
one whose server does not (an adapter may be loaded on some servers only); a request of a session goes to the session's
replica; any other to the less busy of two drawn at random, the longer unused of the two if they are equally busy. With
two replicas that is the least busy one. Two random draws come close to the least busy of all, and workers that cannot
see each other's requests do not all run to the same replica.

A session's replica is found by rendezvous hashing: every replica has its own order of preference for every session, so
that a replica that goes or comes moves its own sessions only. The same session finds the same replica in every worker
and on every host.

Leaves out health (pool.py) and the weight of a request: one in flight counts as one, long or short.
"""

import hashlib
import random
from collections.abc import Callable, Collection, Sequence

from gateway.upstream.base import Replica

_MASK = (1 << 64) - 1
# An odd multiplier, so that a difference in any bit reaches the product's upper half.
_MIX = 0xBF58476D1CE4E5B9


class Balancing:
    """Chooses among the replicas of one model.

    A server with `most_in_flight` requests is full. `load_factor` bounds how far sessions may crowd one replica: one
    that has more than so many times the mean of requests in flight is passed over; None for no bound. `draw` gives
    numbers from 0 to 1, 1 excluded.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        most_in_flight: int,
        load_factor: float | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.replicas = tuple(replicas)
        self._most = most_in_flight
        self._load_factor = load_factor
        self._draw = draw
        self._seeds = tuple(_hash64(replica.base_url) for replica in self.replicas)

    def is_healthy(self) -> bool:
        """True if at least one replica is up."""
        for replica in self.replicas:  # noqa: SIM110 - asked for every model of every routed request
            if replica.server.is_healthy:
                return True
        return False

    def choose(self, passed_over: Collection[Replica] = (), session: str | None = None) -> Replica | None:
        """The replica to ask next; None if every one besides `passed_over` is down or full."""
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0] if self._may_serve(replicas[0]) and replicas[0] not in passed_over else None
        if session is not None:
            return self._of_session(session, self._usable(passed_over))
        if not passed_over:
            first, second = self._two()
            if self._may_serve(first) and self._may_serve(second) and first.is_listed and second.is_listed:
                return first if first.server.load < second.server.load else second
        usable = self._usable(passed_over)
        return min(usable, key=_load) if usable else None

    def _two(self) -> tuple[Replica, Replica]:
        count = len(self.replicas)
        first = int(self._draw() * count)
        second = int(self._draw() * (count - 1)) if count > 2 else 1 - first
        if count > 2 and second >= first:
            second += 1
        return self.replicas[first], self.replicas[second]

    def _may_serve(self, replica: Replica) -> bool:
        server = replica.server
        return server.is_healthy and server.in_flight < self._most

    def _usable(self, passed_over: Collection[Replica]) -> list[Replica]:
        """Replicas that may be asked. One that does not list the model counts only where no healthy one does."""
        healthy = [replica for replica in self.replicas if replica.server.is_healthy]
        holding = [replica for replica in healthy if replica.is_listed] or healthy
        return [replica for replica in holding if replica.server.in_flight < self._most and replica not in passed_over]

    def _of_session(self, session: str, usable: Sequence[Replica]) -> Replica | None:
        """The session's first choice among `usable` that is not crowded."""
        if self._load_factor is not None and len(usable) > 1:
            in_flight = sum(replica.server.in_flight for replica in usable)
            most = self._load_factor * (in_flight + 1) / len(usable)
            usable = [replica for replica in usable if replica.server.in_flight < most]
        session_hash, seeds = _hash64(session), self._seeds
        return max(usable, key=lambda replica: (session_hash ^ seeds[replica.index]) * _MIX & _MASK, default=None)


def _load(replica: Replica) -> tuple[int, int]:
    return replica.server.load


def _hash64(text: str) -> int:
    """Sixty-four bits that are the same in every process, as those of `hash` are not."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest())
