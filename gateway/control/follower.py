"""Keeps a worker to the control document.

Promises: keys are taken within `control.poll_interval_s`, whatever becomes of the rest, so that a revoked key ends even
where a bundle takes minutes to load or will not do; models and bundle follow when they are ready. A document that will
not do is kept out and reported, and tried again now and then, for a bundle may be on its way to this host. One that is
older than what is served, or gone, is kept out altogether: a store that has lost its memory must neither lock everybody
out nor let revoked keys in again. While the store is away everything stays as it is. One log line when the store goes
and one when it is back, one for each document that is kept out.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from gateway.access.keys import KeyRecord
from gateway.control.document import ControlDocument
from gateway.control.live import Live
from gateway.control.store import ControlStore
from gateway.errors import ConfigError, GatewayError, StateUnavailableError
from gateway.observability.logs import log_event
from router_core.errors import RouterCoreError

# A cold connection may take longer than a request may wait, so the first look has a second and several attempts.
START_PATIENCE_S: Final = 1.0
RETRY_S: Final = 0.1
RETRY_REFUSED_S: Final = 30.0
# Who makes a change waits so long for it to be in effect.
LOOK_PATIENCE_S: Final = 10.0
_logger = logging.getLogger(__name__)


class ControlGauge(Protocol):
    """Where it is reported whether the newest document is in effect."""

    def control_refused(self, is_refused: bool) -> None:
        """Set whether the newest document is kept out."""


class Follower:
    """Follows `store` on behalf of `live`; `take_keys` gets the keys of every document that is not older."""

    def __init__(
        self,
        store: ControlStore,
        live: Live,
        gauge: ControlGauge,
        poll_interval_s: float,
        take_keys: Callable[[Iterable[KeyRecord]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._live = live
        self._gauge = gauge
        self._poll_interval_s = poll_interval_s
        self._take_keys = take_keys
        self._clock = clock
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._applying: asyncio.Task[None] | None = None
        self._newest: ControlDocument | None = None
        self._applied: ControlDocument | None = None
        self._refused: ControlDocument | None = None
        self._try_again_at = 0.0
        self._is_current = True
        self.why_refused: str | None = None
        """Why the newest document is not in effect; None if it is."""

    async def start(self) -> None:
        """Start `live` with the document, then follow.

        Raises ConfigError or BundleError if it cannot be served. The store may be away: after START_PATIENCE_S the
        configuration is served as it stands, and until the store is there nobody has a key.
        """
        document: ControlDocument | None = None
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                document = await self._first()
        except TimeoutError:
            self._went("no answer at start")
        if document is not None:
            self._take_keys(document.keys)
        await self._live.start(document)
        self._newest = self._applied = document
        self._gauge.control_refused(False)
        self._task = asyncio.create_task(self._follow(), name="control")

    async def aclose(self) -> None:
        """Stop following."""
        for task in (self._task, self._applying):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> None:
        """Look at once: the keys are taken, and all the rest is in effect if LOOK_PATIENCE_S is enough for it."""
        await self._poll()
        if self._applying is not None:
            await asyncio.wait([self._applying], timeout=LOOK_PATIENCE_S)

    async def _poll(self) -> None:
        """Take the keys of the newest document, and begin with the rest."""
        async with self._looking:
            try:
                document = await self._store.load()
            except StateUnavailableError as error:
                self._went(error.message)
                return
            except ConfigError as error:
                self._keep_out(None, error.message)
                return
            if not self._is_current:
                self._is_current = True
                log_event(_logger, "control_current_again", level=logging.WARNING, place=self._store.place)
            if self._newest is not None and document.version < self._newest.version:
                why = f"older than version {self._newest.version}, which was here before; restart to accept it"
                self._keep_out(document.version, why)
                return
            self._newest = document
            self._take_keys(document.keys)
            if self._is_due(document) and (self._applying is None or self._applying.done()):
                self._applying = asyncio.create_task(self._apply(), name="control apply")
            elif document is self._applied:
                self._is_well()

    async def _first(self) -> ControlDocument:
        while True:
            try:
                return await self._store.load()
            except StateUnavailableError:
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(min(self._poll_interval_s, RETRY_S) if self._newest is None else self._poll_interval_s)
            try:
                await self._poll()
            except Exception as error:  # noqa: BLE001 - border: were this task to end, no key could be revoked any more
                self._went(type(error).__name__)

    def _is_due(self, document: ControlDocument) -> bool:
        if document is self._refused:
            return self._clock() >= self._try_again_at
        return document is not self._applied

    async def _apply(self) -> None:
        """Serve the newest document, and whatever has become the newest meanwhile."""
        while self._newest is not None and self._is_due(self._newest):
            await self._try(self._newest)

    async def _try(self, document: ControlDocument) -> None:
        try:
            await self._live.apply(document)
        except Exception as error:  # noqa: BLE001 - border: whatever a document leads to, it is what keeps it out
            self._refused, self._try_again_at = document, self._clock() + RETRY_REFUSED_S
            is_told = isinstance(error, GatewayError | RouterCoreError)
            self._keep_out(document.version, str(error) if is_told else type(error).__name__)
            return
        self._applied, self._refused = document, None
        self._is_well()
        log_event(_logger, "control_applied", version=document.version)

    def _is_well(self) -> None:
        if self.why_refused is not None:
            self.why_refused = None
            self._gauge.control_refused(False)

    def _keep_out(self, version: int | None, why: str) -> None:
        if why != self.why_refused:
            self.why_refused = why
            self._gauge.control_refused(True)
            log_event(_logger, "control_refused", level=logging.ERROR, version=version, why=why)

    def _went(self, why: str) -> None:
        if self._is_current:
            self._is_current = False
            log_event(_logger, "control_stale", level=logging.ERROR, place=self._store.place, detail=why)
