"""The encoder process: one per host, shared by every worker, so that no worker holds a model or a neural library.

    python -m gateway.routing.encoder_process --listener FD --settings JSON --log-level LEVEL

Listens on a unix socket that its parent opened (encoder_supervisor.py) and ends when the parent does, which it sees on
standard input. A connection opens the encoder of one bundle, by path and digest, and then asks (encoder_frames.py). An
encoder is loaded when the first connection opens it and freed when the last one closes; there are several while workers
change from one bundle to the next. Each has its own queue and its own thread (batching.py), whichever worker asks.

An encode that hangs ends the process, for its parent to start anew.

A worker that sends what is no frame loses its connection, and its queries with it; nobody else does.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

from gateway.observability.logs import configure, log_event
from gateway.routing.base import RoutingUnavailableError
from gateway.routing.batching import BatchingEncoder, EncodeFunction, Place
from gateway.routing.encoder import load_encoder
from gateway.routing.encoder_frames import Frame, FrameError, FrameReader, FrameWriter, Kind, opening_of
from gateway.settings import EncoderSettings
from router_core.bundle import load_bundle
from router_core.errors import BundleError

# No encode takes so long: a driver has hung, and a thread cannot be interrupted.
LEAST_HANG_S = 30.0
HANG_TIMEOUTS = 10
LOOK_INTERVAL_S = 1.0
_logger = logging.getLogger("gateway.routing.encoder_process")  # whether run or imported


LoadEncoder = Callable[[str, Path, EncoderSettings], EncodeFunction]


def load_encoder_of(digest: str, path: Path, settings: EncoderSettings) -> EncodeFunction:
    """The encoder of the bundle at `path`. Raises BundleError if its digest is another one, and what loading raises."""
    bundle = load_bundle(path)
    if bundle.digest != digest:
        raise BundleError(f"{path}: holds bundle {bundle.digest[:12]} by now, not {digest[:12]}, which is asked for")
    return load_encoder(bundle, settings)


class OpenEncoders:
    """The encoders that connections have open, by bundle digest."""

    def __init__(self, settings: EncoderSettings, load: LoadEncoder = load_encoder_of) -> None:
        self._settings = settings
        self._load_encoder = load
        self._loads: dict[str, asyncio.Task[BatchingEncoder]] = {}
        self._users: dict[str, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, digest: str, path: Path) -> BatchingEncoder:
        """The encoder of the bundle at `path`, loaded once for all; for each that was given, call `close`.

        Raises what loading raises.
        """
        load = self._loads.get(digest)
        if load is None:
            load = self._loads[digest] = asyncio.create_task(self._load(digest, path), name="load encoder")
        self._users[digest] = self._users.get(digest, 0) + 1
        with contextlib.ExitStack() as unless_loaded:
            unless_loaded.callback(self.close, digest)
            encoder = await asyncio.shield(load)
            unless_loaded.pop_all()
        return encoder

    def close(self, digest: str) -> None:
        """One user less; the last one frees the encoder."""
        self._users[digest] -= 1
        if not self._users[digest]:
            del self._users[digest]
            task = asyncio.create_task(self._free(digest, self._loads.pop(digest)), name="free encoder")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def hang(self, bound_s: float, interval_s: float = LOOK_INTERVAL_S) -> None:
        """Return once an encode has run for more than `bound_s`, looking every `interval_s`."""
        while not any(encoder.busy_s > bound_s for encoder in self._loaded()):  # noqa: ASYNC110 - nobody tells of what does not happen
            await asyncio.sleep(interval_s)

    def _loaded(self) -> Iterator[BatchingEncoder]:
        for load in self._loads.values():
            if load.done() and not load.cancelled() and load.exception() is None:
                yield load.result()

    async def _load(self, digest: str, path: Path) -> BatchingEncoder:
        settings = self._settings
        encoder = BatchingEncoder(
            partial(self._load_encoder, digest, path, settings),
            timeout_s=settings.timeout_s,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
        )
        async with contextlib.AsyncExitStack() as unless_started:
            unless_started.push_async_callback(encoder.aclose)
            await encoder.start()
            unless_started.pop_all()
        log_event(_logger, "encoder_opened", bundle=digest[:12])
        return encoder

    async def _free(self, digest: str, load: asyncio.Task[BatchingEncoder]) -> None:
        load.cancel()
        loaded = (await asyncio.gather(load, return_exceptions=True))[0]
        if isinstance(loaded, BatchingEncoder):
            await loaded.aclose()
            log_event(_logger, "encoder_closed", bundle=digest[:12])


class Connection(asyncio.Protocol):
    """One worker, and its queries."""

    def __init__(self, encoders: OpenEncoders) -> None:
        self._encoders = encoders
        self._reader = FrameReader()
        self._places: dict[int, Place] = {}
        self._opening: asyncio.Task[None] | None = None
        self._encoder: BatchingEncoder | None = None
        self._digest = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker is here."""
        self._transport = cast(asyncio.Transport, transport)
        self._writer = FrameWriter(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take what the worker sends."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            log_event(_logger, "encoder_bad_frame", level=logging.ERROR, error=str(error))
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The worker has left: so have its queries, and its share in the encoder."""
        if self._opening is not None:
            self._opening.cancel()
        for place in list(self._places.values()):
            place.cancel()
        if self._encoder is not None:
            self._encoder = None
            self._encoders.close(self._digest)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.QUERY and self._encoder is not None:
            self._query(self._encoder, frame)
        elif frame.kind is Kind.GIVE_UP and self._encoder is not None:
            self._give_up(frame.number)
        elif frame.kind is Kind.OPEN and self._opening is None:
            self._digest, path = opening_of(frame)
            self._opening = asyncio.create_task(self._open(path), name="open encoder")
        else:
            raise FrameError(f"{frame.kind.name} is out of place")

    async def _open(self, path: Path) -> None:
        try:
            encoder = await self._encoders.open(self._digest, path)
        except Exception as error:  # noqa: BLE001 - border: torch, its drivers and the disk fail in types of their own
            self._writer.write(Kind.REFUSED, 0, _line(error).encode())
            return
        if self._transport.is_closing():
            self._encoders.close(self._digest)
            return
        self._encoder = encoder
        self._writer.write(Kind.OPENED)

    def _query(self, encoder: BatchingEncoder, frame: Frame) -> None:
        if frame.number in self._places:
            raise FrameError(f"query {frame.number} is asked twice")
        try:
            place = encoder.submit(frame.text())
        except RoutingUnavailableError as error:
            self._writer.write(Kind.FAILED, frame.number, str(error).encode())
            return
        self._places[frame.number] = place
        place.add_done_callback(partial(self._answer, frame.number))

    def _give_up(self, number: int) -> None:
        place = self._places.get(number)
        if place is None:
            # It has been answered; the worker wants to hear all the same that somebody is here.
            self._writer.write(Kind.GIVEN_UP, number)
        else:
            place.cancel()

    def _answer(self, number: int, place: Place) -> None:
        del self._places[number]
        if place.cancelled():
            self._writer.write(Kind.GIVEN_UP, number)
            return
        error = place.exception()
        if error is not None:
            self._writer.write(Kind.FAILED, number, str(error).encode())
            return
        vector, lost = place.result()
        self._writer.write(Kind.VECTOR, number, np.float32(lost).tobytes() + vector.astype(np.float32).tobytes())


def _line(error: Exception) -> str:
    text = str(error) if isinstance(error, BundleError | ModuleNotFoundError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]


async def serve(listener: socket.socket, settings: EncoderSettings, parent: int) -> None:
    """Serve on `listener` until the other end of the file descriptor `parent` is closed."""
    loop = asyncio.get_running_loop()
    parent_left = asyncio.Event()

    def on_readable() -> None:
        if not os.read(parent, 1024):
            parent_left.set()

    loop.add_reader(parent, on_readable)
    encoders = OpenEncoders(settings)
    await loop.create_unix_server(partial(Connection, encoders), sock=listener)
    bound_s = max(LEAST_HANG_S, HANG_TIMEOUTS * settings.timeout_s)
    hanging = asyncio.create_task(encoders.hang(bound_s), name="watch encoders")
    leaving = asyncio.create_task(parent_left.wait(), name="watch parent")
    await asyncio.wait({hanging, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if hanging.done():
        # Raises what broke the watch. The parent starts a process anew whose encoder is not stuck.
        hanging.result()
        log_event(_logger, "encoder_hangs", level=logging.ERROR, bound_s=bound_s)
        os._exit(1)
    hanging.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; exit status 0 when its parent has left."""
    parser = argparse.ArgumentParser(prog="encoder_process")
    parser.add_argument("--listener", type=int, required=True, help="file descriptor of a listening unix socket")
    parser.add_argument("--settings", type=EncoderSettings.model_validate_json, required=True)
    parser.add_argument("--log-level", required=True)
    options = parser.parse_args(arguments)
    # A terminal or a service manager tells every process of the group; this one goes last, with its parent.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    configure(options.log_level, sys.stderr)
    listener = socket.socket(fileno=options.listener)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(listener, options.settings, sys.stdin.fileno()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
