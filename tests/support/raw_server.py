"""A server in the test's own loop that answers in raw bytes, for what no HTTP library would send."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class RawServer:
    """`requests` are those that `read_request` has read; `left` is set once a connection has ended."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.left = asyncio.Event()

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """A whole request. Raises asyncio.IncompleteReadError when the client has left."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        request = head + (await reader.readexactly(int(length.group(1))) if length else b"")
        self.requests.append(request)
        return request


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[RawServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawServer]:
    """Serve each connection by `serve`; a client that leaves is no fault."""
    state = RawServer()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
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
    server = await asyncio.start_server(connected, host, 0, ssl=tls, limit=2**20)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection as a killed process does, by RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
