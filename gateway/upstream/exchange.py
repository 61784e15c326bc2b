"""One request on a connection, seen by whoever waits for its answer.

Promises: bytes are handed on in the loop turn in which they arrive; each deadline raises its own error; what has
arrived before a failure is read before the failure is raised; letting an unfinished exchange go aborts its connection.
The connection (connection.py) fills an exchange in; messages name the model, never its address.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from gateway.errors import (
    UpstreamDisconnectedError,
    UpstreamError,
    UpstreamFirstByteTimeoutError,
    UpstreamIdleTimeoutError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTotalTimeoutError,
)

# Bytes that have arrived and are not read; above this the server is not read from until they are.
HIGH_WATER_BYTES = 64 * 1024


class Carrier(Protocol):
    """What an exchange asks of its connection."""

    def look_by(self, when: float) -> None:
        """Call `Exchange.overdue` at `when`, in the loop's time, or before."""

    def pause(self) -> None:
        """Read nothing from the server."""

    def resume(self) -> None:
        """Read on."""

    def let_go(self, exchange: "Exchange") -> None:
        """Take the next exchange if this one is complete, else abort."""


class Exchange:
    """An UpstreamAnswer once `head` has returned. `first_byte_by` and `total_by` are in the loop's time."""

    __slots__ = (
        "_buffered",
        "_carrier",
        "_error",
        "_first_byte_by",
        "_has_body_begun",
        "_idle_timeout_s",
        "_is_paused",
        "_loop",
        "_model",
        "_parts",
        "_total_by",
        "_wait_until",
        "_waiter",
        "has_head",
        "headers",
        "is_complete",
        "status",
    )

    def __init__(
        self,
        carrier: Carrier,
        loop: asyncio.AbstractEventLoop,
        model: str,
        *,
        first_byte_by: float,
        total_by: float,
        idle_timeout_s: float,
    ) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.has_head = False
        self.is_complete = False
        self._carrier: Carrier | None = carrier
        self._loop = loop
        self._model = model
        self._first_byte_by = first_byte_by
        self._total_by = total_by
        self._idle_timeout_s = idle_timeout_s
        self._parts: list[bytes] = []
        self._buffered = 0
        self._has_body_begun = False
        self._is_paused = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wait_until = 0.0

    async def head(self) -> None:
        """Wait for status and headers; the exchange is let go if they do not come.

        Raises UpstreamDisconnectedError if the connection closed before the first byte, the errors of the deadlines,
        and UpstreamProtocolError.
        """
        try:
            if not self.has_head and self._error is None:
                await self._woken_by(self._first_byte_by)
            if self._error is not None and not self.has_head:
                raise self._error
        except BaseException:
            self.close()
            raise

    async def read(self) -> bytes:
        """The body's next bytes, b"" at its end; see UpstreamAnswer."""
        parts = self._parts
        if not parts and not self.is_complete and self._error is None:
            by = self._loop.time() + self._idle_timeout_s
            await self._woken_by(by if self._has_body_begun else max(by, self._first_byte_by))
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self._buffered = 0
            if self._is_paused:
                self._resume()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Let the exchange go; see UpstreamAnswer."""
        carrier = self._carrier
        if carrier is None:
            return
        if self._is_paused:
            self._resume()
        if not self.is_complete:
            self.failed(UpstreamError(f"the exchange with model {self._model!r} was let go before its end"))
        self._carrier = None
        carrier.let_go(self)

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer's head is here."""
        self.status, self.headers, self.has_head = status, headers, True
        self._wake()

    def arrived(self, data: bytes) -> None:
        """Bytes of the body are here."""
        self._parts.append(data)
        self._has_body_begun = True
        self._buffered += len(data)
        if self._buffered > HIGH_WATER_BYTES and not self._is_paused and self._carrier is not None:
            self._is_paused = True
            self._carrier.pause()
        if self._waiter is not None:
            self._wake()

    def finished(self) -> None:
        """The body is complete."""
        self.is_complete = True
        self._wake()

    def failed(self, error: UpstreamError) -> None:
        """Nothing more will come. The first reason counts."""
        if self._error is None and not self.is_complete:
            self._error = error
            self._wake()

    def lost(self, *, has_bytes: bool) -> None:
        """The connection closed before the body was complete."""
        if not has_bytes:
            reason = f"the server of model {self._model!r} closed the connection before it answered"
            self.failed(UpstreamDisconnectedError(reason))
        else:
            self.failed(UpstreamProtocolError(f"the server of model {self._model!r} broke off its answer"))

    def refused(self, why: str) -> None:
        """The server sent what is not to be taken for an answer; `why` goes on from "the server of model X"."""
        self.failed(UpstreamProtocolError(f"the server of model {self._model!r} {why}"))

    def overdue(self, now: float) -> float | None:
        """Fail if a deadline has passed and return None; else when to look next."""
        by = self._total_by
        if now >= by:
            self.failed(UpstreamTotalTimeoutError(f"model {self._model!r} did not complete its answer in time"))
            return None
        if self._waiter is None:
            # The next wait ends after this, so that it finds the timer early enough.
            return min(by, now + self._idle_timeout_s)
        if now >= self._wait_until:
            self.failed(self._late())
            return None
        return min(by, self._wait_until)

    def _late(self) -> UpstreamTimeoutError:
        if self._has_body_begun:
            return UpstreamIdleTimeoutError(f"model {self._model!r} stopped in the middle of its answer")
        return UpstreamFirstByteTimeoutError(f"model {self._model!r} did not begin to answer in time")

    async def _woken_by(self, when: float) -> None:
        carrier = self._carrier
        if carrier is None:
            # Let go: there is an error or an end already.
            return
        self._wait_until = when
        carrier.look_by(min(when, self._total_by))
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resume(self) -> None:
        self._is_paused = False
        if self._carrier is not None:
            self._carrier.resume()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
