"""Ends a request early when nobody waits for its answer any more, or when the process must stop.

Once a body is read, nothing else reads the connection; an ASGI server then says "http.disconnect" only to whoever asks.
So every request asks, next to its work, from the body's last byte to the answer's last: queued, routing, waiting for
the first token or in the middle of a stream, the work is cancelled in the turn in which the client leaves.

A task that asks would cost a request more than its routing. The asking is therefore stepped by hand: what it waits for
calls it back, and it is closed with the work.
"""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive


class ClientLeftError(Exception):
    """The client closed the connection, or read nothing for `server.client_stall_timeout_s`. Nobody is told."""


class Watch:
    """A context around the work of one request; raises the reason if the work was interrupted.

    Call `over` after the answer's last byte: from then on servers report a disconnect that means nothing.
    """

    __slots__ = ("_asking", "_is_over", "_why", "_work")

    def __init__(self, receive: Receive) -> None:
        self._asking: Generator[Any, Any, None] = _disconnect(receive).__await__()
        self._why: Exception | None = None
        self._is_over = False
        self._work: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        # None until the first step is done: a task that is running cannot be cancelled for sure.
        if self._has_left():
            raise ClientLeftError
        self._work = asyncio.current_task()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self._asking.close()
        why, self._why = self._why, None
        if why is None or self._work is None:
            return
        self._work.uncancel()
        try:
            raise why from None
        finally:
            # The exception holds this frame; held by it in turn, all that the request had would wait for the collector.
            del why, error, traceback, kind

    def over(self) -> None:
        """The answer is complete."""
        self._is_over = True

    def interrupt(self, why: Exception) -> None:
        """Cancel the work; the block then raises `why`."""
        if self._work is not None and not self._is_over and self._why is None:
            self._why = why
            self._work.cancel()

    def _has_left(self) -> bool:
        """Ask as far as it goes without waiting."""
        try:
            waits_for = next(self._asking)
        except StopIteration:
            return True
        if waits_for is None:
            asyncio.get_running_loop().call_soon(self._ask_on)
        else:
            waits_for._asyncio_future_blocking = False  # as a task does with what it is given to wait for
            waits_for.add_done_callback(self._ask_on)
        return False

    def _ask_on(self, _: object = None) -> None:
        if not self._is_over and self._has_left():
            self.interrupt(ClientLeftError())


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
