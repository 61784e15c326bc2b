"""Writes one answer to a client, and gives up on a client that reads nothing.

A server holds an answer back while the client's side is full. Without a deadline a client that stops reading would keep
its model busy for ever.
"""

from collections.abc import Callable, Iterable

from starlette.types import Message, Send

from gateway.http.deadline import within
from gateway.http.watch import ClientLeftError


class Responder:
    """One answer. `has_begun` once the head is out, `is_over` once the last byte is.

    `copy_to`, if it is set, is called with every part that is written.
    """

    def __init__(self, send: Send, stall_timeout_s: float) -> None:
        self._send = send
        self._stall_timeout_s = stall_timeout_s
        self.has_begun = False
        self.is_over = False
        self.copy_to: Callable[[bytes], None] | None = None

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
        """Send the last part of the body."""
        await self._sent({"type": "http.response.body", "body": body, "more_body": False})
        self.is_over = True

    async def whole(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a complete answer."""
        await self.begin(status, [*headers, ("content-length", str(len(body)))])
        await self.end(body)

    async def _sent(self, message: Message) -> None:
        try:
            await within(self._stall_timeout_s, self._send(message))
        except TimeoutError:
            raise ClientLeftError from None
