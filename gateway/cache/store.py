"""Where answers are kept: this process's memory, or Redis for all workers and hosts.

Promises: neither raises; a store that does not answer knows nothing. Memory holds at most `max_bytes`, names and
bookkeeping included, and the answer unused for longest goes first; Redis is asked once a request, and its own
`maxmemory` bounds it. Both forget after the time to live.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from gateway.errors import StateUnavailableError
from gateway.state.base import State

# What an entry takes beside its bytes: the name (a SHA-256 in hex), two objects, two places in a table.
ENTRY_OVERHEAD_BYTES: Final = 512


class AnswerStore(Protocol):
    """Answers by name."""

    async def get(self, name: str) -> bytes | None:
        """The answer; None if there is none, or none that can be had now."""

    async def put(self, name: str, answer: bytes) -> bool:
        """Keep an answer; False if that cannot be done now."""


class MemoryAnswers:
    """Implements AnswerStore. `clock` gives seconds and must not run backwards. Belongs to one event loop."""

    def __init__(self, *, ttl_s: float, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    async def get(self, name: str) -> bytes | None:
        """The answer, which is then the last to go."""
        entry = self._answers.get(name)
        if entry is None:
            return None
        expires_at, answer = entry
        if self._clock() >= expires_at:
            self._drop(name)
            return None
        self._answers.move_to_end(name)
        return answer

    async def put(self, name: str, answer: bytes) -> bool:
        """Keep an answer and let others go for it; False if it is larger than the whole store."""
        if name in self._answers:
            self._drop(name)
        self._answers[name] = (self._clock() + self._ttl_s, answer)
        self._bytes += len(answer) + ENTRY_OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._answers)))
        return name in self._answers

    def _drop(self, name: str) -> None:
        _, answer = self._answers.pop(name)
        self._bytes -= len(answer) + ENTRY_OVERHEAD_BYTES


class SharedAnswers:
    """Implements AnswerStore on a shared State."""

    def __init__(self, state: State, *, ttl_s: float) -> None:
        self._state = state
        self._ttl_s = ttl_s

    async def get(self, name: str) -> bytes | None:
        """The answer; a store that is down, which it reports itself, has none."""
        try:
            return await self._state.get(f"answer:{name}")
        except StateUnavailableError:
            return None

    async def put(self, name: str, answer: bytes) -> bool:
        """Keep an answer; False while the store is down."""
        try:
            await self._state.put(f"answer:{name}", answer, self._ttl_s)
        except StateUnavailableError:
            return False
        return True
