"""The gateway's door: who is asking, and may they ask now.

Promises: without `access.require_keys` everybody is ANONYMOUS and headers are ignored; with it nobody passes without a
valid key, and what is wrong with a key is never told. Requests per minute are counted per key in fixed windows,
exactly, across every worker that shares the state. If the shared state is away, each worker counts on its own, up to
the limit divided by `server.workers`: neither open nor closed.
Leaves out token budgets and queues.
"""

import math
from collections.abc import Mapping

from gateway.access.base import ANONYMOUS, Principal
from gateway.access.keyring import Keyring
from gateway.access.keys import KeyRecord, verified
from gateway.errors import PermissionDeniedError, RateLimitedError, StateUnavailableError
from gateway.settings import DialSettings, Settings
from gateway.state.base import State
from gateway.state.memory import MemoryState

WINDOW_S = 60
NO_DIAL = DialSettings()
Headers = list[tuple[str, str]]


class Guard:
    """Admits requests. `keyring` None lets everybody in; `server.workers` share a limit out while `state` is away."""

    def __init__(self, keyring: Keyring | None, state: State, settings: Settings) -> None:
        self._keyring = keyring
        self._state = state
        self._default_limit = settings.access.requests_per_minute
        self._dials = settings.access.dials
        self._workers = settings.server.workers
        self._own_count = MemoryState()
        # Who is asking, by the valid key presented: what was found out under one snapshot of the keyring.
        self._snapshot: Mapping[str, KeyRecord] = {}
        self._principals: dict[str | None, Principal] = {}

    async def admit(self, headers: Mapping[str, str]) -> tuple[Principal, Headers]:
        """The caller, and the `x-ratelimit-*` headers for the answer.

        `headers` have lower-case names. Raises AuthenticationError, PermissionDeniedError (a key for administration),
        RateLimitedError (with its headers) and StateUnavailableError (keys never loaded).
        """
        if self._keyring is None:
            return ANONYMOUS, []
        records = self._keyring.records()
        if records is not self._snapshot:
            self._snapshot, self._principals = records, {}
        presented = _presented(headers)
        principal = self._principals.get(presented)
        if principal is None:
            principal = self._principals[presented] = self._principal(verified(presented, records))
        if principal.requests_per_minute is None:
            return principal, []
        return principal, await self._counted(principal.key_id, principal.requests_per_minute)

    @property
    def is_ready(self) -> bool:
        """False as long as keys are asked for and none could be read."""
        return self._keyring is None or self._keyring.is_loaded

    def admit_admin(self, headers: Mapping[str, str]) -> str:
        """The id of the key that administrates. Nobody does without keys.

        Raises AuthenticationError, PermissionDeniedError and StateUnavailableError (keys never loaded).
        """
        if self._keyring is None:
            raise PermissionDeniedError("administration over HTTP needs keys: set access.require_keys: true")
        record = verified(_presented(headers), self._keyring.records())
        if record.scope != "admin":
            raise PermissionDeniedError("this key is not for administration; see `gateway keys create --scope admin`")
        return record.id

    def _principal(self, record: KeyRecord) -> Principal:
        if record.scope != "inference":
            raise PermissionDeniedError("this key is for administration only; ask with another one")
        dial = self._dials.get(record.id, NO_DIAL)
        return Principal(
            key_id=record.id,
            allowed_models=None if record.allowed_models is None else frozenset(record.allowed_models),
            requests_per_minute=record.requests_per_minute or self._default_limit,
            quality=dial.quality,
            max_cost=dial.max_cost,
        )

    async def _counted(self, key_id: str | None, limit: int) -> Headers:
        name = f"requests:{key_id}"
        try:
            count, reset_s = await self._state.count(name, WINDOW_S)
        except StateUnavailableError:
            limit = max(1, limit // self._workers)
            count, reset_s = await self._own_count.count(name, WINDOW_S)
        headers = [
            ("x-ratelimit-limit-requests", str(limit)),
            ("x-ratelimit-remaining-requests", str(max(0, limit - count))),
            ("x-ratelimit-reset-requests", f"{math.ceil(reset_s)}s"),
        ]
        if count > limit:
            raise RateLimitedError(
                f"this key may send {limit} requests per minute; the next window begins in {math.ceil(reset_s)} s",
                retry_after_s=reset_s,
                extra_headers=headers,
            )
        return headers


def _presented(headers: Mapping[str, str]) -> str | None:
    """The key in `Authorization: Bearer`, else in `x-api-key`, which clients of /v1/messages send."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credential.strip(" ")
    return headers.get("x-api-key")
