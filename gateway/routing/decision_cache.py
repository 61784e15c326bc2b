"""What a bundle said of an ask, kept: people, retries and agents ask the same thing again.

Kept is the policy's ranking with its probabilities, which depends on the bundle and the ask alone; keys, masks, rules,
sessions, dials and health are applied to it afresh for every request. A cache belongs to one live bundle and goes with
it, so nothing of another bundle can come out of it. Callers that miss on the same ask while it is being ranked wait for
that one ranking. A caller that leaves disturbs no other; when all have left, the ranking is given up. What fails is not
kept. Whoever uses the cache says under which keys; the learned policy keeps every API key's asks apart.

Promises: at most `entries` rankings, the one unused for longest goes first; an ask of more than WHOLE_CHARACTERS is
known by its digest (BLAKE2b, 128 bits), so an entry's size does not depend on what clients send. Single-threaded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from hashlib import blake2b

from gateway.routing.base import Ranking

WHOLE_CHARACTERS = 512
"""Up to here the ask itself is the key: cheaper than a digest."""


def key_of(ask: str) -> str | bytes:
    """What `ask` is known by; takes time with its length, so make it once a request."""
    if len(ask) <= WHOLE_CHARACTERS:
        return ask
    # Any string is an ask, halves of surrogate pairs too.
    return blake2b(ask.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class DecisionCache:
    """Rankings by key, which holds their ask. `entries` 0 keeps and shares nothing."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[Hashable, Ranking] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}

    def get(self, key: Hashable) -> Ranking | None:
        """The ranking that is kept, as a hit."""
        ranking = self._kept.get(key)
        if ranking is not None:
            self._kept.move_to_end(key)
        return ranking

    def put(self, key: Hashable, ranking: Ranking) -> None:
        """Keep a ranking that was computed."""
        if not self._entries:
            return
        self._kept[key] = Ranking(ranking.models, ranking.novelty, ranking.least_gains, cache="hit")
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)

    async def join(self, key: Hashable, compute: Callable[[], Awaitable[Ranking]]) -> Ranking:
        """The ranking that `compute` gives, kept; callers with the same key share one call. Raises what it raises."""
        if not self._entries:
            return await compute()
        flight = self._flights.get(key)
        is_first = flight is None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(self._computed(key, compute)))
            flight.ranking.add_done_callback(lambda _: self._landed(key, flight))
        flight.callers += 1
        try:
            ranking = await asyncio.shield(flight.ranking)
        finally:
            flight.callers -= 1
            if not flight.callers and not flight.ranking.done():
                # Out of sight first: whoever comes now must not wait for what is being given up.
                self._landed(key, flight)
                flight.ranking.cancel()
        if is_first:
            return ranking
        return Ranking(ranking.models, ranking.novelty, ranking.least_gains, cache="joined")

    async def _computed(self, key: Hashable, compute: Callable[[], Awaitable[Ranking]]) -> Ranking:
        ranking = await compute()
        self.put(key, ranking)
        return ranking

    def _landed(self, key: Hashable, flight: "_Flight") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight:
    """One ranking under way, and how many wait for it."""

    def __init__(self, ranking: asyncio.Future[Ranking]) -> None:
        self.ranking = ranking
        self.callers = 0
