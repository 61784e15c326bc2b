"""State in this process's memory: the default, for one worker.

Promises: exact, no waiting, bounded. Expired entries are dropped as others come in (oldest first, so each call does a
constant amount of work on average), and at most `max_values` values are kept: past that the oldest go first, because
their names come from clients. Leaves out sharing: a second worker has its own copy, and a restart forgets everything.
Belongs to one event loop; it takes no lock because no method awaits.
"""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from gateway.state.base import NO_DOCUMENT, Document

Held = TypeVar("Held")


class MemoryState:
    """Implements State. `clock` gives seconds and must not run backwards; a monotonic clock is right."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_values: int = 100_000) -> None:
        self._clock = clock
        self._max_values = max_values
        self._values: dict[str, tuple[float, bytes]] = {}
        self._counters: dict[str, tuple[float, int]] = {}
        self._documents: dict[str, Document] = {}

    async def get(self, name: str) -> bytes | None:
        """The value under `name`, or None if absent or expired."""
        expires_at, value = self._values.get(name, (-math.inf, b""))
        return value if self._clock() < expires_at else None

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` under `name` for `ttl_s` seconds."""
        now = self._clock()
        self._values.pop(name, None)
        _drop_expired(self._values, now)
        while len(self._values) >= self._max_values:
            del self._values[next(iter(self._values))]
        self._values[name] = (now + ttl_s, value)

    async def count(self, name: str, window_s: int) -> tuple[int, float]:
        """Add one to the counter `name` of the current window; the count, and seconds until the window ends."""
        now = self._clock()
        window_end = (math.floor(now / window_s) + 1) * window_s
        kept_end, count = self._counters.get(name, (-math.inf, 0))
        if kept_end != window_end:
            self._counters.pop(name, None)
            _drop_expired(self._counters, now)
            count = 0
        self._counters[name] = (window_end, count + 1)
        return count + 1, window_end - now

    async def document(self, name: str, known: Document = NO_DOCUMENT) -> Document | None:
        """The document `name`; None while it is `known`."""
        found = self._documents.get(name, NO_DOCUMENT)
        return None if found == known else found

    async def replace_document(self, name: str, known: int, text: bytes) -> bool:
        """Write the version after `known`; False if the document has another version by now."""
        if self._documents.get(name, NO_DOCUMENT).version != known:
            return False
        self._documents[name] = Document(known + 1, text)
        return True

    async def ping(self) -> bool:
        """Always True: memory answers."""
        return True

    async def aclose(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._counters.clear()
        self._documents.clear()

    def __len__(self) -> int:
        """How many values and counters are held, expired ones that still wait to be dropped included."""
        return len(self._values) + len(self._counters)


def _drop_expired(entries: dict[str, tuple[float, Held]], now: float) -> None:
    """Drop entries from the front while they have expired; dicts keep insertion order and every write re-inserts."""
    while entries:
        oldest = next(iter(entries))
        if entries[oldest][0] > now:
            return
        del entries[oldest]
