"""A worker's end of the encoder process: the encoder of one bundle, over a unix socket.

Every query has a deadline. While the process is down, or does not even confirm that it has given a query up, newcomers
are turned away at once. A lost connection is made again in the background; one that stands is used again as soon as the
process says anything. A caller that leaves, or whose time is up, has its query given up in the process too.

The process opens the bundle by path and digest, so the vectors are those of this bundle's encoder or there are none.
A text is cut here to what the encoder can read at most: what travels is bounded, and the share lost counts the cut.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np

from gateway.errors import ConfigError
from gateway.observability.logs import log_event
from gateway.routing.base import EncoderAddress, RoutingUnavailableError
from gateway.routing.encoder_frames import Frame, FrameError, FrameReader, FrameWriter, Kind, opening
from gateway.settings import EncoderSettings
from router_core.bundle import RouterBundle, SentenceEncoderSpec
from router_core.encoder_text import cut_text
from router_core.errors import BundleError
from router_core.tensors import FloatArray

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 10.0
"""Between attempts to connect; each is twice the one before."""
SILENCE_S = 0.25
"""A process that does not say within this time that it has given a query up is taken to be stuck."""
LOAD_TIMEOUT_S = 300.0
"""`start` waits so long for the encoder to load, and then lets the gateway serve without it until it has."""

_NUMBERS = 1 << 32
_Answer = tuple[FloatArray, float]

_logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """The process cannot open the bundle's encoder; says why in one line."""


class EncoderClient:
    """The encoder of `bundle`, whose digest the process checks."""

    def __init__(self, bundle: RouterBundle, settings: EncoderSettings, address: EncoderAddress) -> None:
        if not isinstance(bundle.encoder, SentenceEncoderSpec):
            raise BundleError(f"{bundle.path}: encoder {bundle.encoder.name!r} needs no process")
        self._spec = bundle.encoder
        self._digest = bundle.digest
        self._path = bundle.path.absolute()
        self._settings = settings
        self._address = address
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self.has_answered = False

    @property
    def is_up(self) -> bool:
        """True while the process has the encoder open for this worker and answers."""
        return self._link is not None and not self._link.is_lost and not self._link.is_silent

    async def start(self) -> None:
        """Connect, and wait until the encoder is loaded.

        Raises ConfigError in one line if it cannot be loaded at all: package missing, not the bundle's encoder. If the
        process is lost meanwhile, the worker starts all the same and goes on trying.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._stay_connected(), name="encoder connection")
        try:
            # Out of time, the future is cancelled: what becomes of the attempt is then no more the start's concern.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    await self._first
        except _RefusedError as error:
            await self.aclose()
            raise ConfigError(str(error)) from None
        if not self.has_answered:
            self._address.on_change(False)

    async def encode(self, text: str) -> _Answer:
        """The vector, float32 (D,), and the share of the text that was cut off, 0..1.

        Raises RoutingUnavailableError in a few words if there is none within `router.encoder.timeout_s`.
        """
        link = self._link
        if link is None or link.is_lost:
            raise RoutingUnavailableError("the encoder is down" if self.has_answered else "the encoder is not loaded")
        if link.is_silent:
            raise RoutingUnavailableError("the encoder is late")
        if len(link.waiting) >= self._settings.max_queue:
            raise RoutingUnavailableError("the encoder's queue is full")
        spec = self._spec
        cut, kept = cut_text(text, max_tokens=spec.max_tokens, truncation_side=spec.truncation_side)
        vector, lost = await self._asked(link, cut)
        return vector, 1.0 - kept * (1.0 - lost)

    async def aclose(self) -> None:
        """Close the connection; who waits is turned away."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._link = None

    async def _asked(self, link: "_Link", text: str) -> _Answer:
        number, place = link.ask(text)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await place
        except TimeoutError:
            raise RoutingUnavailableError("the encoder is late") from None
        finally:
            link.leave(number)

    async def _stay_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._connected()
                pause_s = FIRST_PAUSE_S
            except (_RefusedError, OSError) as error:
                if self._first_attempt_ended(error):
                    return
                why = str(error) or type(error).__name__
                log_event(_logger, "encoder_unavailable", level=logging.ERROR, why=why, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _connected(self) -> None:
        """One connection, until it is lost. Raises OSError or _RefusedError if it never came to stand."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(
            lambda: _Link(self._spec.dimensions, self._address.on_change), str(self._address.socket)
        )
        try:
            await link.opened(self._digest, self._path)
            self._link, self.has_answered = link, True
            self._address.on_change(True)
            log_event(_logger, "encoder_up")
            self._first_attempt_ended()
            await link.lost
            self._address.on_change(False)
            log_event(_logger, "encoder_down", level=logging.WARNING)
        finally:
            self._link = None
            link.close()

    def _first_attempt_ended(self, error: Exception | None = None) -> bool:
        """Let `start` return; True if that ends it all, since the very first attempt was refused."""
        if self._first is None or self._first.done():
            return False
        if isinstance(error, _RefusedError):
            self._first.set_exception(error)
            return True
        self._first.set_result(None)
        return False


class _Link(asyncio.Protocol):
    """One connection, and who waits for an answer over it."""

    def __init__(self, dimensions: int, on_change: Callable[[bool], None]) -> None:
        self.waiting: dict[int, asyncio.Future[_Answer]] = {}
        self.is_silent = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._vector_bytes = 4 * (1 + dimensions)
        self._on_change = on_change
        self._reader = FrameReader()
        self._heard_at = 0.0
        self._number = 0

    @property
    def is_lost(self) -> bool:
        """True once the connection is closed, which its owner hears of a turn later."""
        return self.lost.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket takes the connection; whether a process does will show."""
        self._transport = cast(asyncio.Transport, transport)
        self._writer = FrameWriter(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take what the process says."""
        self._heard_at = asyncio.get_running_loop().time()
        if self.is_silent:
            self.is_silent = False
            self._on_change(True)
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            log_event(_logger, "encoder_bad_frame", level=logging.ERROR, error=str(error))
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The process has gone, or this side has closed."""
        if not self._opened.done():
            self._opened.set_exception(ConnectionResetError("the encoder process ended the connection"))
            self._opened.exception()
        if not self.is_lost:
            self.lost.set_result(None)
        for place in self.waiting.values():
            if not place.done():
                place.set_exception(RoutingUnavailableError("the encoder is down"))

    async def opened(self, digest: str, path: Path) -> None:
        """Returns when the encoder of the bundle is ready. Raises _RefusedError, or OSError if the process goes."""
        self._writer.write(Kind.OPEN, 0, opening(digest, path))
        await self._opened

    def ask(self, text: str) -> tuple[int, asyncio.Future[_Answer]]:
        """Send a query: its number, and the place that gets the answer. `leave` must follow."""
        number = self._number = (self._number + 1) % _NUMBERS
        place: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(Kind.QUERY, number, text.encode())
        except FrameError as error:
            raise RoutingUnavailableError(str(error)) from error
        self.waiting[number] = place
        return number, place

    def leave(self, number: int) -> None:
        """The caller has its answer, or waits no more."""
        place = self.waiting.pop(number)
        if place.done() and not place.cancelled():
            place.exception()  # seen, even if the caller has left in the same moment
            return
        self._writer.write(Kind.GIVE_UP, number)
        loop = asyncio.get_running_loop()
        loop.call_later(SILENCE_S, self._check_heard_since, loop.time())

    def _check_heard_since(self, then: float) -> None:
        if self._heard_at < then and not self.is_silent and not self.is_lost:
            self.is_silent = True
            self._on_change(False)
            log_event(_logger, "encoder_silent", level=logging.WARNING)

    def close(self) -> None:
        """Close without waiting."""
        self._transport.abort()

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.OPENED and not self._opened.done():
            self._opened.set_result(None)
        elif frame.kind is Kind.REFUSED and not self._opened.done():
            self._opened.set_exception(_RefusedError(frame.text()))
        elif frame.kind in (Kind.VECTOR, Kind.FAILED, Kind.GIVEN_UP):
            place = self.waiting.get(frame.number)
            # One that has left gets its GIVEN_UP, or an answer that was already under way.
            if place is not None and not place.done():
                self._settle(place, frame)
        else:
            raise FrameError(f"{frame.kind.name} is out of place")

    def _settle(self, place: asyncio.Future[_Answer], frame: Frame) -> None:
        if frame.kind is Kind.VECTOR:
            if len(frame.payload) != self._vector_bytes:
                raise FrameError(f"a vector of {len(frame.payload)} bytes where {self._vector_bytes} are due")
            row = np.frombuffer(frame.payload, dtype=np.float32)
            place.set_result((row[1:], float(row[0])))
        else:
            place.set_exception(RoutingUnavailableError(frame.text() or "the encoder gave up"))
