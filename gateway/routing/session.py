"""A conversation keeps its model: what `x-session-id` means.

The model that a session was routed to is kept in the shared state for `session_ttl_s` after its last request, under a
hash of the key id and the session id: neither can be read back, and one key's sessions cannot be reached from another.
When the state store does not answer, requests are routed as if they had no session; nothing fails, and no request waits
for the store twice.
"""

import hashlib
import logging

from gateway.errors import StateUnavailableError
from gateway.observability.logs import log_event
from gateway.routing.base import RoutingRequest
from gateway.state.base import State

_logger = logging.getLogger(__name__)


class Session:
    """One request's view of its session. Without a session id it remembers nothing."""

    def __init__(self, state: State, name: str | None, ttl_s: float) -> None:
        self._state = state
        self._name = name
        self._ttl_s = ttl_s

    async def recall(self) -> str | None:
        """The model that the session was routed to; None if there is no session, no memory of it, or no store."""
        if self._name is None:
            return None
        try:
            value = await self._state.get(self._name)
        except StateUnavailableError:
            log_event(_logger, "session_ignored", level=logging.WARNING, why="the state store does not answer")
            self._name = None
            return None
        return None if value is None else value.decode(errors="replace")

    async def remember(self, model: str) -> None:
        """Keep `model` for the session's next request; a store that is down is passed over."""
        if self._name is None:
            return
        try:
            await self._state.put(self._name, model.encode(), self._ttl_s)
        except StateUnavailableError:
            log_event(_logger, "session_ignored", level=logging.WARNING, why="the state store does not answer")
            self._name = None


class Sessions:
    """Opens sessions and holds their one policy: the margin."""

    def __init__(self, state: State, *, margin: float, ttl_s: float) -> None:
        self._state = state
        self._margin = margin
        self._ttl_s = ttl_s

    def of(self, request: RoutingRequest) -> Session:
        """The session of `request`."""
        name = None
        if request.session_id is not None:
            name = "session:" + session_digest(request.key_id, request.session_id)
        return Session(self._state, name, self._ttl_s)

    def keeps(self, gain: float | None) -> bool:
        """True unless the gain of the best model over the session's own (weighing.py) exceeds the margin.

        Where a policy has no confidences there is no gain to speak of, None, and the session keeps its model.
        """
        return gain is None or gain <= self._margin


def session_digest(key_id: str | None, session_id: str) -> str:
    """What stands for a session. The key id's length goes first: no two pairs are the same text before hashing."""
    key = key_id or ""
    return hashlib.sha256(f"{len(key)}:{key}:{session_id}".encode(errors="replace")).hexdigest()
