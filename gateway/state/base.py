"""The state interface: what requests share across time, and, with Redis, across workers and hosts.

Every call has a deadline inside the implementation (`state.timeout_s`) and raises StateUnavailableError past it; each
caller decides what that means (reliability policy in docs/operations.md).
"""

from typing import Final, NamedTuple, Protocol


class Document(NamedTuple):
    """A text with a version; the version is 0 where there is none."""

    version: int
    text: bytes


NO_DOCUMENT: Final = Document(0, b"")


class State(Protocol):
    """Small values with a time to live, versioned documents, and exact fixed-window counters."""

    async def get(self, name: str) -> bytes | None:
        """The value under `name`, or None if absent or expired."""

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` under `name` for `ttl_s` seconds."""

    async def count(self, name: str, window_s: int) -> tuple[int, float]:
        """Add one to the counter `name` of the current window, atomically.

        Returns the count including this one, and the seconds until the window ends. The clock is the store's own, so
        that workers on different hosts agree.
        """

    async def document(self, name: str, known: Document = NO_DOCUMENT) -> Document | None:
        """The document `name`; None while it is `known`, by version and text."""

    async def replace_document(self, name: str, known: int, text: bytes) -> bool:
        """Write the version after `known`; False if the document has another version by now. It does not expire."""

    async def ping(self) -> bool:
        """True if the store answers. Never raises."""

    async def aclose(self) -> None:
        """Close connections."""
