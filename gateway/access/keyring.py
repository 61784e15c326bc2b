"""A worker's own copy of the keys, so that no request waits for the store to look one up.

Promises: a change in the store is seen within `snapshot_ttl_s`; while the store is away the last copy goes on serving
(revocation is then as stale as the outage is long); without any copy nobody is let in. One log line when the store goes
and one when it is back.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from gateway.access.keys import KeyRecord
from gateway.access.store import KeyStore
from gateway.errors import ConfigError, StateUnavailableError
from gateway.observability.logs import log_event

# A cold connection may take longer than a request may wait, so the first copy has a second and several attempts.
START_PATIENCE_S: Final = 1.0
RETRY_S: Final = 0.1
_logger = logging.getLogger("gateway.access")


class Keyring:
    """Follows a KeyStore. `refresh_s` is the longest a change may go unseen."""

    def __init__(self, store: KeyStore, refresh_s: float) -> None:
        self._store = store
        self._refresh_s = refresh_s
        self._records: Mapping[str, KeyRecord] | None = None
        self._is_current = True
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the keys and begin to follow the store.

        Raises ConfigError if a keys file cannot be read. Redis may be away: after START_PATIENCE_S the gateway starts
        all the same, and until Redis is there `records` raises.
        """
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                await self._first_load()
        except TimeoutError:
            self._went("no answer at start")
        self._follower = asyncio.create_task(self._follow(), name="keyring")

    async def aclose(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None

    def records(self) -> Mapping[str, KeyRecord]:
        """The last copy. Raises StateUnavailableError if there never was one."""
        if self._records is None:
            raise StateUnavailableError(
                "API keys cannot be checked now; try again shortly", retry_after_s=self._refresh_s
            )
        return self._records

    async def _load(self) -> None:
        records = await self._store.load()
        if not records and self._records != records:
            log_event(_logger, "no_keys", level=logging.WARNING, place=self._store.place)
        self._records = records
        if not self._is_current:
            self._is_current = True
            log_event(_logger, "keys_current_again", level=logging.WARNING, place=self._store.place)

    async def _first_load(self) -> None:
        while self._records is None:
            try:
                await self._load()
            except StateUnavailableError:
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(min(self._refresh_s, RETRY_S) if self._records is None else self._refresh_s)
            try:
                await self._load()
            except (StateUnavailableError, ConfigError) as error:
                self._went(error.message)
            except Exception as error:  # noqa: BLE001 - border: were this task to end, no key could be revoked any more
                self._went(type(error).__name__)

    def _went(self, why: str) -> None:
        if self._is_current:
            self._is_current = False
            log_event(_logger, "keys_stale", level=logging.ERROR, place=self._store.place, detail=why)
