"""Reads a request's body within limits.

Promises: never holds more than `max_bytes`; gives up after `timeout_s`; takes identity encoding only. What a client
sends beyond the cap is thrown away for a moment, so that one that is still writing can read the 413.
"""

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from gateway.errors import BodyTimeoutError, BodyTooLargeError, RequestError, UnsupportedEncodingError
from gateway.http.deadline import within
from gateway.http.watch import ClientLeftError

DISCARD_TIMEOUT_S = 1.0


async def read_body(receive: Receive, headers: Mapping[str, str], *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises UnsupportedEncodingError, BodyTooLargeError, BodyTimeoutError, ClientLeftError.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedEncodingError("send the body uncompressed: this gateway takes no content-encoding")
    if _declared_length(headers) > max_bytes:
        await _discard(receive, max_bytes)
        raise _too_large(max_bytes)
    try:
        body = await within(timeout_s, _read(receive, max_bytes))
    except TimeoutError:
        raise BodyTimeoutError(f"the body did not arrive within {timeout_s:g} s") from None
    if body is None:
        await _discard(receive, max_bytes)
        raise _too_large(max_bytes)
    return body


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The body, None once it is over the cap."""
    parts: list[bytes] = []
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
        has_more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard(receive: Receive, max_bytes: int) -> None:
    """Read and drop at most as much again as the cap allows, for at most a second."""
    size = 0
    try:
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while size <= max_bytes:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _declared_length(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit() and len(declared) < 20):
        raise RequestError("content-length must be a whole number")
    return int(declared)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is over this gateway's limit of {max_bytes} bytes")
