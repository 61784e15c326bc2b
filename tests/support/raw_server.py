"""A server in the test's own loop that answers in raw bytes, for what no HTTP library would send."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class RawServer:
    """What has come in so far; `left` is set once a connection has ended."""

    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """The body of a whole request. Raises asyncio.IncompleteReadError when the client has left."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length.group(1)) if length else 0)
        self.heads.append(head)
        self.bodies.append(body)
        return body


Serve = Callable[[RawServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(
    serve: Serve, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve each connection by `serve` while the block runs; a client that leaves is no fault."""
    state = RawServer()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.append(writer)
        try:
            await serve(state, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled at the end of the block below; asyncio's streams would call that an error.
            pass
        finally:
            tasks.discard(task)
            state.left.set()
            writer.close()

    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(connected, host, 0, ssl=tls, limit=2**20)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        for writer in writers:
            writer.transport.abort()
        # Transports close in the next turn.
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection as a killed process does, by RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
