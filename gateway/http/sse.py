"""Server-sent events, as far as a relay needs them: where an event ends, which one is the last, what it cost.

Bytes in, the same bytes out, cut at ends of events whatever the chunks were. Nothing is parsed on the way but the event
that may be the last; counts of tokens are read once, from the end of the stream.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.errors import UpstreamProtocolError
from gateway.http.endpoints import StreamEnd

_BLANK_LINE: Final = (b"\n\n", b"\n\r\n", b"\r\r")
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
# What an end marker's event must hold somewhere; looked for before anything is parsed.
_HINT: Final[dict[StreamEnd, tuple[bytes, ...]]] = {
    "message_stop": (b"message_stop",),
    "response": tuple(sorted(kind.encode() for kind in _RESPONSE_ENDS)),
}


class EventSplitter:
    """Turns chunks into blocks of whole events."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._held = bytearray()

    @property
    def rest(self) -> bytes:
        """The beginning of an event whose end has not come."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """The events that are complete now, as they came; b"" if none is."""
        if not self._held and chunk.endswith(b"\n\n"):
            return chunk
        # A blank line may straddle the chunks: it has at most three bytes, and two of them may be here already.
        searched = max(0, len(self._held) - 2)
        self._held += chunk
        end = max(self._end_of(mark, searched) for mark in _BLANK_LINE)
        block = bytes(self._held[:end])
        del self._held[:end]
        return block

    def refuse_excess(self) -> None:
        """Raise UpstreamProtocolError if what is held back has grown over the cap."""
        if len(self._held) > self._max_event_bytes:
            raise UpstreamProtocolError(f"an event of the model's stream is over {self._max_event_bytes} bytes")

    def _end_of(self, mark: bytes, start: int) -> int:
        found = self._held.rfind(mark, start)
        return 0 if found < 0 else found + len(mark)


def events_data(block: bytes) -> Iterator[bytes]:
    """The data of each event of a block: its `data:` lines, joined by newlines."""
    for event in _EVENT_END.split(block):
        lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


def is_ended_by(block: bytes, ends: StreamEnd) -> bool:
    """True if one of the block's events is the stream's end marker."""
    if ends == "done":
        return b"[DONE]" in block and any(data.strip() == b"[DONE]" for data in events_data(block))
    if not any(hint in block for hint in _HINT[ends]):
        return False
    kinds = {_kind(data) for data in events_data(block)}
    return "message_stop" in kinds if ends == "message_stop" else not kinds.isdisjoint(_RESPONSE_ENDS)


class _Kind(msgspec.Struct):
    type: str = ""


def _kind(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Kind).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
