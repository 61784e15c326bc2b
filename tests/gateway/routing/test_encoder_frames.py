"""Frames come out as they went in, wherever the stream is cut, and what is no frame is told at once."""

import asyncio
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.encoder_frames import (
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameError,
    FrameReader,
    FrameWriter,
    Kind,
    opening,
    opening_of,
    packed,
)

FRAMES = st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=300))


@given(st.lists(FRAMES, max_size=8), st.data())
def test_frames_survive_any_cuts(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(packed(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, seen = FrameReader(), list[Frame]()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += reader.feed(stream[begin:end])
    assert seen == frames


@given(st.lists(FRAMES, max_size=3), FRAMES)
def test_an_incomplete_frame_is_held_back_until_its_last_byte(before: list[Frame], last: Frame) -> None:
    reader, stream = FrameReader(), packed(*last)
    assert reader.feed(b"".join(packed(*frame) for frame in before) + stream[:-1]) == before
    assert reader.feed(b"") == []
    assert reader.feed(stream[-1:]) == [last]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_frames_or_an_error_and_nothing_else(stream: bytes, size: int) -> None:
    reader, whole = FrameReader(), b""
    try:
        for at in range(0, len(stream), size):
            whole += b"".join(packed(*frame) for frame in reader.feed(stream[at : at + size]))
    except FrameError:
        return
    assert stream.startswith(whole)


@pytest.mark.parametrize("kind", [0, 9, 255])
def test_an_unknown_kind_is_refused_by_its_head(kind: int) -> None:
    with pytest.raises(FrameError, match=f"kind {kind}"):
        FrameReader().feed(struct.pack("<IBI", 1000, kind, 1))


def test_a_length_beyond_the_limit_is_refused_before_anything_is_held() -> None:
    with pytest.raises(FrameError, match="longer than"):
        FrameReader().feed(struct.pack("<IBI", MAX_PAYLOAD_BYTES + 1, Kind.QUERY, 1))
    with pytest.raises(FrameError, match="longer than"):
        packed(Kind.QUERY, 1, bytes(MAX_PAYLOAD_BYTES + 1))
    whole = packed(Kind.QUERY, 1, bytes(MAX_PAYLOAD_BYTES))
    assert len(FrameReader().feed(whole)[0].payload) == MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("name", ["b", "b u n d l e", "日本", os.fsdecode(b"\xff\xfe")])
def test_an_opening_carries_any_path(name: str) -> None:
    path = Path("/bundles") / name
    assert opening_of(Frame(Kind.OPEN, 0, opening("0a" * 32, path))) == ("0a" * 32, path)


@pytest.mark.parametrize("payload", [b"", b"0a" * 32, b"0A" * 32 + b"/b", b"0a" * 31 + b"/b", b"0a" * 32 + b"/b\0"])
def test_an_opening_without_digest_or_path_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError, match="no digest and path"):
        opening_of(Frame(Kind.OPEN, 0, payload))


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    assert Frame(Kind.QUERY, 1, "é".encode()).text() == "é"
    with pytest.raises(FrameError, match="QUERY is not UTF-8"):
        Frame(Kind.QUERY, 1, b"\xff").text()


class Sink(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing


async def test_the_frames_of_one_turn_are_one_write() -> None:
    sink = Sink()
    writer = FrameWriter(sink)
    for number in (1, 2):
        writer.write(Kind.GIVE_UP, number)
    assert sink.writes == []
    await asyncio.sleep(0)
    writer.write(Kind.GIVE_UP, 3)
    await asyncio.sleep(0)
    assert sink.writes == [packed(Kind.GIVE_UP, 1) + packed(Kind.GIVE_UP, 2), packed(Kind.GIVE_UP, 3)]
    sink.closing = True
    writer.write(Kind.GIVE_UP, 4)
    await asyncio.sleep(0)
    assert len(sink.writes) == 2
