"""Frames between a worker and the encoder process.

    length   4 bytes, little-endian: of the payload
    kind     1 byte
    number   4 bytes, little-endian: which query; 0 where it is about the connection
    payload

    worker -> process                                      process -> worker
    OPEN     bundle digest (64 hex digits), bundle path    OPENED   nothing: that bundle's encoder is ready
                                                           REFUSED  why it cannot be, UTF-8
    QUERY    the text, UTF-8                               VECTOR   share lost, then the vector; float32
                                                           FAILED   why there is none, UTF-8
    GIVE_UP  nothing: nobody waits for this query          GIVEN_UP nothing: it is gone, encoded or not

OPEN comes first and once. Every QUERY gets one VECTOR, FAILED or, after a GIVE_UP, GIVEN_UP at the latest. Numbers are
the machine's own: both ends are on one host.
"""

import asyncio
import os
import re
import struct
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""No text that an encoder reads is longer: it is cut before it is sent (router_core/encoder_text.py)."""

_HEAD = struct.Struct("<IBI")
_DIGEST_BYTES = 64
_DIGEST = re.compile(rb"[0-9a-f]{64}")


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 1
    OPENED = 2
    REFUSED = 3
    QUERY = 4
    VECTOR = 5
    FAILED = 6
    GIVE_UP = 7
    GIVEN_UP = 8


_KINDS = {int(kind): kind for kind in Kind}


class FrameError(Exception):
    """The other side does not speak this protocol: the connection is of no more use."""


class Frame(NamedTuple):
    """One frame."""

    kind: Kind
    number: int
    payload: bytes

    def text(self) -> str:
        """The payload as text. Raises FrameError."""
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            raise FrameError(f"the payload of a {self.kind.name} is not UTF-8") from error


def opening(digest: str, path: Path) -> bytes:
    """The payload of an OPEN."""
    return digest.encode() + os.fsencode(path)


def opening_of(frame: Frame) -> tuple[str, Path]:
    """The bundle's digest and path in an OPEN. Raises FrameError."""
    digest, path = frame.payload[:_DIGEST_BYTES], frame.payload[_DIGEST_BYTES:]
    if _DIGEST.fullmatch(digest) is None or not path or b"\0" in path:
        raise FrameError("an OPEN holds no digest and path of a bundle")
    return digest.decode(), Path(os.fsdecode(path))


def packed(kind: Kind, number: int = 0, payload: bytes = b"") -> bytes:
    """The bytes of a frame. Raises FrameError if the payload is longer than MAX_PAYLOAD_BYTES."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a payload of {len(payload)} bytes is longer than {MAX_PAYLOAD_BYTES}")
    return _HEAD.pack(len(payload), kind, number) + payload


class FrameReader:
    """Cuts a stream of bytes into frames; holds back what is not complete."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises FrameError for a kind that is none or a length beyond the limit."""
        held = self._held
        held += data
        frames: list[Frame] = []
        at = 0
        while len(held) - at >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(held, at)
            if length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"a payload of {length} bytes is longer than {MAX_PAYLOAD_BYTES}")
            if kind not in _KINDS:
                raise FrameError(f"no frame is of kind {kind}")
            end = at + _HEAD.size + length
            if len(held) < end:
                break
            frames.append(Frame(_KINDS[kind], number, bytes(held[at + _HEAD.size : end])))
            at = end
        del held[:at]
        return frames


class FrameWriter:
    """Writes frames to a transport, all those of one turn of the event loop at once."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._held: list[bytes] = []

    def write(self, kind: Kind, number: int = 0, payload: bytes = b"") -> None:
        """Write a frame, unless the transport is closing. Raises FrameError for a payload that is too long."""
        frame = packed(kind, number, payload)
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(frame)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(held))
