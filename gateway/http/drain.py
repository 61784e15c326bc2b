"""How a process stops: running requests finish, new ones are sent elsewhere, and at the deadline streams are told.

After `begin` the readiness probe says 503 and new requests are refused with 503 and `connection: close`, while the
listener stays open, so that a load balancer has time to notice. Requests still running after `grace_s` are interrupted:
a stream gets an error event and ends, instead of breaking off.
"""

import asyncio
from collections.abc import Callable

from gateway.errors import ShuttingDownError
from gateway.http.watch import Watch

# For error events to be written after the deadline; a server's own patience must be longer.
LAST_WORDS_S = 1.0


class Drain:
    """Counts the requests of one process and ends them."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._running = 0
        self._watches: set[Watch] = set()
        self._none_running = asyncio.Event()
        self.has_begun = False
        self.on_begin: Callable[[], None] | None = None
        self._is_cut = False

    def enter(self) -> None:
        """Count one request, which must `leave`. Raises ShuttingDownError once stopping has begun."""
        if self.has_begun:
            raise _stopping()
        self._running += 1

    def leave(self) -> None:
        """A request is over."""
        self._running -= 1
        if self._running == 0:
            self._none_running.set()

    def attach(self, watch: Watch) -> None:
        """Let the deadline interrupt the work under `watch`. Raises ShuttingDownError if it has passed."""
        if self._is_cut:
            raise _stopping()
        self._watches.add(watch)

    def detach(self, watch: Watch) -> None:
        """The work is done."""
        self._watches.discard(watch)

    def begin(self) -> None:
        """Take no more requests; `on_begin` hears of it."""
        self.has_begun = True
        if self.on_begin is not None:
            self.on_begin()

    async def finish(self) -> None:
        """Begin, wait for the running requests, and interrupt those that outlast the grace."""
        self.begin()
        if await self._ran_out(self._grace_s):
            return
        self._is_cut = True
        for watch in tuple(self._watches):
            watch.interrupt(_stopping())
        await self._ran_out(LAST_WORDS_S)

    async def _ran_out(self, timeout_s: float) -> bool:
        """True once nothing runs; False at the deadline."""
        self._none_running.clear()
        if self._running == 0:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._none_running.wait()
        except TimeoutError:
            return False
        return True


def _stopping() -> ShuttingDownError:
    return ShuttingDownError("this gateway process is stopping; ask again", retry_after_s=1.0)
