"""What the edge asks of an HTTP client towards the models: one protocol, so that the client can be changed.

A client opens one exchange at a time, hands over status and headers when they are there, and then the body's bytes in
the event-loop turn in which they arrive. It never decodes and never retries, but for an idle connection that
turns out to be closed: the rest belongs to whoever knows the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

# A server that closes the connection so soon after a request has not begun to work on it: it was closing an idle one,
# or refuses work. One that does so later may have died of the request, or with its answer half generated.
NOT_BEGUN_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Server:
    """The process at one address, which may hold replicas of several models, and what is known of it.

    `last_used` is a turn, greater for later ones. `listed` are the names that its `/v1/models` lists; None where that
    is not known.
    """

    is_healthy: bool = False
    in_flight: int = 0
    last_used: int = 0
    listed: frozenset[str] | None = None

    @property
    def load(self) -> tuple[int, int]:
        """Smaller for the server to ask first."""
        return self.in_flight, self.last_used


@dataclass(frozen=True, slots=True, eq=False)
class Replica:
    """One model on one server; equal to itself alone.

    `base_url` has no trailing slash and ends in the API version (`.../v1`). `server` is shared with the other replicas
    at its address.
    """

    model: str
    index: int
    base_url: str
    api_key: str | None
    served_name: str
    server: Server = field(default_factory=Server, repr=False)

    @property
    def is_listed(self) -> bool:
        """False if the server says what it serves and the model is not among it."""
        listed = self.server.listed
        return listed is None or self.served_name in listed

    @property
    def root_url(self) -> str:
        """The server's root, where `/health`, `/tokenize` and the like live."""
        return root_of(self.base_url)


def root_of(base_url: str) -> str:
    """The root of the server whose API is at `base_url`."""
    return base_url.removesuffix("/v1")


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """HTTP status of the upstream."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the upstream, lower-case names."""

    async def read(self) -> bytes:
        """The bytes of the body that have arrived since the last call, waiting for some; b"" at its end.

        Raises UpstreamFirstByteTimeoutError if the body has not begun within `upstream.first_byte_timeout_s` of the
        request, UpstreamIdleTimeoutError after `upstream.idle_timeout_s` of silence, UpstreamTotalTimeoutError if the
        body is not complete within `upstream.total_timeout_s` of the request, UpstreamProtocolError if the connection
        breaks before that.
        """

    def close(self) -> None:
        """Let the exchange go: a finished one returns its connection, an unfinished one is aborted at once.

        Nothing waits, so that it also works while a cancellation unwinds.
        """


class Upstream(Protocol):
    """An HTTP client towards the replicas."""

    async def send(
        self, replica: Replica, *, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> UpstreamAnswer:
        """Open an exchange and wait for the answer's head.

        Raises UpstreamConnectError if no connection could be made or it closed before the first byte,
        UpstreamFirstByteTimeoutError or UpstreamTotalTimeoutError if that byte did not come in time,
        UpstreamProtocolError if the answer is not HTTP, ValueError for a URL or header that no request can carry.
        Cancelling the call aborts the exchange.
        """

    async def aclose(self) -> None:
        """Close every connection."""
