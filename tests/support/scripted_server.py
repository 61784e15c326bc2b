"""An asyncio server that answers HTTP requests with the very bytes it is told, write by write."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
Answer = Callable[[int], Sequence[bytes]]
"""Number of the request, from 0 -> what is written, each piece by itself. An empty piece closes the connection."""


@dataclass
class ScriptedServer:
    """What has come in so far."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def scripted_server(answer: Answer) -> AsyncIterator[ScriptedServer]:
    """A server on 127.0.0.1 while the block runs."""
    seen = ScriptedServer(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while await _answered(reader, writer, answer, seen):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, seen: ScriptedServer
) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    number = len(seen.heads)
    seen.heads.append(head)
    seen.bodies.append(await reader.readexactly(int(length.group(1)) if length else 0))
    for piece in answer(number):
        if not piece:
            return False
        writer.write(piece)
        await writer.drain()
        # The client reads this piece by itself if the machine allows it.
        await asyncio.sleep(0)
    return True
