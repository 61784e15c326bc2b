"""Writes one answer to a client, and gives up on a client that reads nothing.

A server holds an answer back while the client's side is full. Without a deadline a client that stops reading would keep
its model busy for ever.
"""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import Message, Send

from gateway.http.deadline import within
from gateway.http.watch import ClientLeftError

# A server takes whatever it is given in one call: only between two can it hold back, and the deadline count.
MOST_AT_ONCE_BYTES: Final = 256 * 1024


class Responder:
    """One answer. `has_begun` once the head is out, `is_over` once the last byte is.

    `copy_to`, if it is set, is called with every part that is written, `on_over` after the last byte.
    """

    def __init__(self, send: Send, stall_timeout_s: float) -> None:
        self._send = send
        self._stall_timeout_s = stall_timeout_s
        self.has_begun = False
        self.is_over = False
        self.copy_to: Callable[[bytes], None] | None = None
        self.on_over: Callable[[], None] | None = None

    async def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head. Raises ClientLeftError, as the others do."""
        raw = [(name.encode(), value.encode()) for name, value in headers]
        self.has_begun = True
        await self._sent({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, body: bytes) -> None:
        """Send a part of the body."""
        if self.copy_to is not None:
            self.copy_to(body)
        await self._sent({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """Send the last part of the body, however long it is."""
        if len(body) > MOST_AT_ONCE_BYTES:
            body = await self._all_but_the_last_piece(body)
        await self._sent({"type": "http.response.body", "body": body, "more_body": False})
        self.is_over = True
        if self.on_over is not None:
            self.on_over()

    async def whole(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a complete answer."""
        await self.begin(status, [*headers, ("content-length", str(len(body)))])
        await self.end(body)

    async def _all_but_the_last_piece(self, body: bytes) -> bytes:
        start = 0
        while len(body) - start > MOST_AT_ONCE_BYTES:
            piece = body[start : start + MOST_AT_ONCE_BYTES]
            await self._sent({"type": "http.response.body", "body": piece, "more_body": True})
            start += MOST_AT_ONCE_BYTES
        return body[start:]

    async def _sent(self, message: Message) -> None:
        try:
            await within(self._stall_timeout_s, self._send(message))
        except TimeoutError:
            raise ClientLeftError from None
