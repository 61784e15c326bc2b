"""Ends a request early when nobody waits for its answer any more, or when the process must stop.

Once a body is read, nothing else reads the connection; an ASGI server then says "http.disconnect" only to whoever asks.
So every request asks, next to its work, from the body's last byte to the answer's last: queued, routing, waiting for
the first token or in the middle of a stream, the work is cancelled in the turn in which the client leaves.
"""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive


class ClientLeftError(Exception):
    """The client closed the connection, or read nothing for `server.client_stall_timeout_s`. Nobody is told."""


class Watch:
    """An async context around the work of one request; raises the reason if the work was interrupted.

    Call `over` after the answer's last byte: from then on servers report a disconnect that means nothing.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._why: Exception | None = None
        self._is_over = False
        self._work: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._work = asyncio.current_task()
        self._watcher = asyncio.create_task(self._until_disconnect(), name="client watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # No await here: a cancellation that has been asked for arrives inside the block or not at all.
        self._is_over = True
        if self._watcher is not None:
            self._watcher.cancel()
        if self._why is not None and self._work is not None:
            self._work.uncancel()
            raise self._why from None

    def over(self) -> None:
        """The answer is complete."""
        self._is_over = True

    def interrupt(self, why: Exception) -> None:
        """Cancel the work; the block then raises `why`."""
        if self._work is not None and not self._is_over and self._why is None:
            self._why = why
            self._work.cancel()

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt(ClientLeftError())
