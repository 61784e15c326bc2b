"""Where events end, and which is the last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamProtocolError
from gateway.http.endpoints import StreamEnd
from gateway.http.sse import EventSplitter, events_data, is_ended_by

LINES = st.sampled_from([b"data: {}", b"data: caf\xc3\xa9", b": comment", b"event: x", b"data:", b"junk", b""])
ENDS_OF_LINE = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Anything from well-formed streams to broken ones, with any line ends."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    end = draw(ENDS_OF_LINE)
    return b"".join(line + end for line in draw(st.lists(LINES, max_size=20)))


def split_anyhow(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(stream=streams(), data=st.data())
def test_any_chunk_boundaries_give_the_same_bytes(stream: bytes, data: st.DataObject) -> None:
    """F10: split UTF-8, split line ends, empty chunks."""
    splitter = EventSplitter(10_000)
    blocks = [splitter.feed(chunk) for chunk in split_anyhow(data, stream)]
    assert b"".join(blocks) + splitter.rest == stream


@given(stream=streams(), data=st.data())
def test_the_same_events_come_out_whatever_the_chunks(stream: bytes, data: st.DataObject) -> None:
    whole = EventSplitter(10_000)
    at_once = whole.feed(stream)
    splitter = EventSplitter(10_000)
    in_parts = b"".join(splitter.feed(chunk) for chunk in split_anyhow(data, stream))
    # A carriage return at the very end may be half a line end: those alone may come one chunk later.
    assert in_parts == at_once or at_once.removeprefix(in_parts).strip(b"\r\n") == b""


@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: b"data: " + raw.hex().encode()), min_size=1))
def test_events_leave_as_soon_as_they_are_complete(lines: list[bytes]) -> None:
    splitter = EventSplitter(10_000)
    for line in lines:
        assert splitter.feed(line + b"\n") == b""
        assert splitter.feed(b"\n") == line + b"\n\n"


def test_an_event_over_the_cap_is_refused() -> None:
    splitter = EventSplitter(100)
    assert splitter.feed(b"data: 1\n\ndata: " + b"x" * 94) == b"data: 1\n\n"
    splitter.refuse_excess()
    assert splitter.feed(b"x") == b""
    with pytest.raises(UpstreamProtocolError, match="over 100 bytes"):
        splitter.refuse_excess()


ENDINGS: list[tuple[StreamEnd, bytes, bool]] = [
    ("done", b"data: [DONE]\n\n", True),
    ("done", b"data:[DONE]\r\n\r\n", True),
    ("done", b'data: {"x":1}\n\ndata: [DONE]\n\n', True),
    ("done", b'data: {"content":"[DONE]"}\n\n', False),
    ("done", b": [DONE]\n\n", False),
    ("message_stop", b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
    ("message_stop", b'data: {"type":"content_block_delta","delta":{"text":"message_stop"}}\n\n', False),
    ("response", b'data: {"type":"response.completed","response":{}}\n\n', True),
    ("response", b'data: {"type":"response.failed"}\n\n', True),
    ("response", b'data: {"type":"response.incomplete"}\n\n', True),
    ("response", b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n', False),
    ("response", b"data: response.completed\n\n", False),
    ("response", b'data: {"type":7,"x":"response.completed"}\n\n', False),
]


@pytest.mark.parametrize(("ends", "block", "is_end"), ENDINGS)
def test_end_markers(ends: StreamEnd, block: bytes, is_end: bool) -> None:
    assert is_ended_by(block, ends) is is_end


def test_the_data_of_events_is_joined_by_lines() -> None:
    block = b'event: a\ndata: {"x":\ndata: 1}\n\n: nothing\n\nid: 3\r\ndata:two\r\n\r\n'
    assert list(events_data(block)) == [b'{"x":\n1}', b"two"]
