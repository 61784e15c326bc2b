"""The HTTP server: uvicorn, as this gateway runs it, alone on a port or as one of several workers behind one.

A worker does not listen. Its parent (gateway/workers.py) accepts connections and hands them over one by one through a
Unix socket, the channel; the worker says there when it is ready, when it is about to end and whenever connections have
closed, so that the parent knows how many each worker has. A worker whose parent is gone stops as on SIGTERM.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http.drain import LAST_WORDS_S

# Longer than clients keep an idle connection (official ones: 5 s), so that it is never this side that closes in a race.
KEEP_ALIVE_S: Final = 65
BACKLOG: Final = 2048
READY: Final = b"ready"
ENDING: Final = b"ending"
# Net allocations between two looks of the collector at young objects; the library's 700 is less than a burst holds.
COLLECTOR_THRESHOLD: Final = 50_000
_RESET: Final = struct.pack("ii", 1, 0)
_CONTINUE: Final = b"HTTP/1.1 100 "
# Up to here copying a body behind its head costs less than handing the system two pieces.
_MOST_COPIED_BYTES: Final = 8 * 1024


class _Config(uvicorn.Config):
    """uvicorn's, and how long a connection that is being closed waits for a client that reads nothing."""

    client_stall_timeout_s: float


def server_config(app: ASGIApp, client_stall_timeout_s: float) -> uvicorn.Config:
    """How `app` is served. See `server.client_stall_timeout_s`."""
    config = _Config(
        app,
        loop="uvloop",
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        # Streams have had their last words by then (gateway/http/drain.py); this is for what does not listen.
        timeout_graceful_shutdown=int(LAST_WORDS_S) + 1,
    )
    config.client_stall_timeout_s = client_stall_timeout_s
    return config


class AnnouncingServer(uvicorn.Server):
    """Listens by itself, and says where once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, then listen."""
        await super().startup(sockets)
        _settle_memory()
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        print(f"gateway: serving on {self._url}", flush=True)


class WorkerServer(uvicorn.Server):
    """Serves the connections that come through `channel`, the worker's end of a SOCK_SEQPACKET pair."""

    def __init__(self, config: uvicorn.Config, channel: socket.socket) -> None:
        super().__init__(config)
        self._channel = channel
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, then take connections."""
        await super().startup(sockets=[])
        _settle_memory()
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._take)
        self._channel.send(READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, then end those there are."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        # So that the parent asks another worker.
        self._channel.close()
        await super().shutdown(sockets=[])

    def say_ending(self) -> None:
        """Tell the parent that new requests are refused here from now on."""
        try:
            self._channel.send(ENDING)
        except BlockingIOError:
            asyncio.get_running_loop().call_later(0.1, self.say_ending)
        except OSError:
            # The parent is gone, or this worker has told it already by closing the channel.
            return

    def _take(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                # As an end: the parent has gone without reading all that it was told.
                data, descriptors = b"", []
            if not data:
                asyncio.get_running_loop().remove_reader(self._channel.fileno())
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if not descriptors:
                # At this process's limit of descriptors the kernel drops what came along.
                self._on_closed()
            for descriptor in descriptors:
                opening = asyncio.create_task(self._open(socket.socket(fileno=descriptor)), name="open connection")
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        try:
            await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            # The client has left already.
            connection.close()
            self._on_closed()

    def _protocol(self) -> asyncio.Protocol:
        protocol = _Connection(self.config, self.server_state, self.lifespan.state)
        protocol.on_closed = self._on_closed
        return protocol

    def _on_closed(self) -> None:
        """Tell the parent, once for all that close in this turn of the loop."""
        if self._closed == 0:
            asyncio.get_running_loop().call_soon(self._tell_closed)
        self._closed += 1

    def _tell_closed(self) -> None:
        try:
            self._channel.send(str(self._closed).encode())
        except BlockingIOError:
            asyncio.get_running_loop().call_later(0.1, self._tell_closed)
        except OSError:
            # The parent is gone, which `_take` hears of too, or this worker is about to end.
            return
        else:
            self._closed = 0


def _settle_memory() -> None:
    """What start-up made stays as long as the process, and requests leave no cycles: spare them the collector's walks.

    They were a tenth of a request, and a look at everything stopped the event loop for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD)


class _Connection(HttpToolsProtocol):
    """One client's connection. `on_closed`, if there is one, hears when it has closed."""

    config: _Config
    on_closed: Callable[[], None] | None = None
    _output: "_Output | None" = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.on_closed is not None:
            self.on_closed()

    def on_response_complete(self) -> None:
        if self._output is not None:
            self._output.flush()
            self._output = None
        super().on_response_complete()

    def shutdown(self) -> None:
        super().shutdown()
        _end_if_closing(self.transport, self.config.client_stall_timeout_s)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        _end_if_closing(self.transport, self.config.client_stall_timeout_s)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        output = self._output = _Output(self.transport, self.config.client_stall_timeout_s)
        cycle.transport = output  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)


class _Output:
    """What one answer is written to: its head waits for the first of its body, and both leave in one system call.

    ASGI leaves the head to wait. A segment of its own would also wake the client for nothing that it can use.
    """

    __slots__ = ("_head", "_stall_timeout_s", "_transport")

    def __init__(self, transport: asyncio.Transport, stall_timeout_s: float) -> None:
        self._transport = transport
        self._stall_timeout_s = stall_timeout_s
        # Empty until there is a head, None once it has left.
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        """Write an interim response or a part of the body; keep the head."""
        if self._head:
            if len(data) <= _MOST_COPIED_BYTES:
                self._transport.write(self._head + data)
            else:
                self._transport.writelines((self._head, data))
            self._head = None
        elif self._head is None or data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._head = data

    def flush(self) -> None:
        """Write a head that no body follows."""
        if self._head:
            self._transport.write(self._head)
            self._head = None

    def close(self) -> None:
        """Close the connection once all is written, or once the client has read nothing for the deadline."""
        self.flush()
        self._transport.close()
        _end_if_closing(self._transport, self._stall_timeout_s)

    def is_closing(self) -> bool:
        """True once the connection is closed or is being closed."""
        return self._transport.is_closing()


def _end_if_closing(transport: asyncio.Transport, stall_timeout_s: float) -> None:
    """Abort a connection that is being closed when its client reads nothing; by itself it would wait for ever."""
    if transport.is_closing() and (left := transport.get_write_buffer_size()):
        loop = asyncio.get_running_loop()
        loop.call_later(stall_timeout_s, _end_if_stalled, transport, left, stall_timeout_s)


def _end_if_stalled(transport: asyncio.Transport, left_before: int, stall_timeout_s: float) -> None:
    left = transport.get_write_buffer_size()
    if left >= left_before:
        # By RST, or the system would go on offering what it has taken.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    else:
        _end_if_closing(transport, stall_timeout_s)
