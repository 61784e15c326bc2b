"""Hands a model's answer to the client.

A stream goes out event by event in the loop turn in which its bytes arrive; nothing is sent before its first event, so
that a failure until then is an HTTP error. A whole answer is read first and sent with its cost. What is not what the
endpoint promises (no event stream, no JSON, a compressed or truncated body, no end marker) raises UpstreamProtocolError
instead of passing for an answer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.errors import GatewayError, UpstreamProtocolError
from gateway.http.endpoints import StreamEnd
from gateway.http.responder import Responder
from gateway.http.sse import EventSplitter, is_ended_by
from gateway.http.usage import Ending, Usage, ending_of, usage_of_answer
from gateway.upstream.base import UpstreamAnswer

EVENT_STREAM = "text/event-stream"
# The end of the body follows the end marker at once; waiting for it lets the connection be used again.
END_OF_BODY_TIMEOUT_S = 0.5
# Counts of tokens stand in the last events, and a block holds at least one.
LAST_BLOCKS = 3


async def relay_stream(
    answer: UpstreamAnswer,
    responder: Responder,
    begin: Callable[[], Awaitable[None]],
    *,
    ends: StreamEnd,
    max_event_bytes: int,
) -> Ending:
    """Relay events until the end marker, without ending the client's answer. `begin` sends the head.

    Raises UpstreamProtocolError and the errors of reading the answer, before or after the head.
    """
    _refuse_encoding(answer)
    if _media_type(answer) != EVENT_STREAM:
        raise UpstreamProtocolError("the model's server did not answer with an event stream")
    splitter = EventSplitter(max_event_bytes)
    last: deque[bytes] = deque(maxlen=LAST_BLOCKS)
    while chunk := await answer.read():
        block = splitter.feed(chunk)
        if block:
            if not responder.has_begun:
                await begin()
            await responder.write(block)
            last.append(block)
            if is_ended_by(block, ends):
                return ending_of(b"".join(last))
        splitter.refuse_excess()
    rest = splitter.rest
    if is_ended_by(rest, ends):
        # The body ended without the blank line that ends an event: the marker is there all the same.
        if not responder.has_begun:
            await begin()
        await responder.write(rest + b"\n\n")
        return ending_of(b"".join(last) + rest)
    raise UpstreamProtocolError("the model's stream ended before it was complete")


async def read_answer(answer: UpstreamAnswer, max_bytes: int) -> tuple[bytes, Usage | None]:
    """A whole JSON answer and its counts of tokens. Raises UpstreamProtocolError and the errors of reading."""
    _refuse_encoding(answer)
    parts: list[bytes] = []
    size = 0
    while chunk := await answer.read():
        size += len(chunk)
        if size > max_bytes:
            raise UpstreamProtocolError(f"the model's answer is over {max_bytes} bytes")
        parts.append(chunk)
    body = b"".join(parts)
    try:
        return body, usage_of_answer(body)
    except ValueError:
        raise UpstreamProtocolError("the model's server did not answer with a JSON object") from None


async def read_to_end(answer: UpstreamAnswer) -> None:
    """Read what follows an end marker, for a while; the client has everything already."""
    try:
        async with asyncio.timeout(END_OF_BODY_TIMEOUT_S):
            while await answer.read():
                pass
    except (TimeoutError, GatewayError):
        # The exchange is closed instead of used again.
        return


def _media_type(answer: UpstreamAnswer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _refuse_encoding(answer: UpstreamAnswer) -> None:
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UpstreamProtocolError("the model's server compressed its answer, which it was asked not to do")
