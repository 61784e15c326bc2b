"""A worker's end, against a process that says what the test tells it to."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.errors import ConfigError
from gateway.routing.base import EncoderAddress, RoutingUnavailableError
from gateway.routing.encoder_client import EncoderClient
from gateway.routing.encoder_frames import Frame, FrameReader, Kind, opening_of, packed
from gateway.settings import EncoderSettings
from router_core.bundle import RouterBundle
from router_core.encoder_text import CHARACTERS_PER_TOKEN
from router_core.errors import BundleError
from tests.gateway.routing.samples import bundle
from tests.support.eventually import eventually
from tests.support.small_bundle import small_bundle

LOST_AND_VECTOR = np.array([0.5, 0.1, 0.2, 0.3], dtype=np.float32)


class Process:
    """Stands in for the process: reads frames, and answers with what the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.openings: list[tuple[str, Path]] = []
        # What an OPEN is answered with: a frame, or None to end the connection. The last one is used again and again.
        self.answers_to_open: list[bytes | None] = [packed(Kind.OPENED)]
        self.confirms = True
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers = []

    def say(self, frame: bytes) -> None:
        self._writers[-1].write(frame)

    async def seen(self, kind: Kind) -> Frame:
        """The next frame, which is of this kind."""
        async with asyncio.timeout(20):
            frame = await self.frames.get()
        assert frame.kind is kind
        return frame

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        frames = FrameReader()
        while data := await reader.read(65536):
            for frame in frames.feed(data):
                self._take(frame, writer)
        writer.close()

    def _take(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if frame.kind is Kind.OPEN:
            self.openings.append(opening_of(frame))
            answer = self.answers_to_open.pop(0) if len(self.answers_to_open) > 1 else self.answers_to_open[0]
            if answer is None:
                writer.transport.abort()
            else:
                writer.write(answer)
            return
        self.frames.put_nowait(frame)
        if frame.kind is Kind.GIVE_UP and self.confirms:
            writer.write(packed(Kind.GIVEN_UP, frame.number))


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        process = Process(Path(folder) / "s")
        await process.start()
        yield process
        await process.stop()


@pytest.fixture
def saved(tmp_path: Path) -> RouterBundle:
    return bundle(tmp_path / "bundle")


Started = tuple[EncoderClient, list[bool]]
"""A client, and what it has told so far of its encoder's coming and going."""


@asynccontextmanager
async def started(saved: RouterBundle, process: Process, **options: Any) -> AsyncIterator[Started]:
    changes: list[bool] = []
    settings = EncoderSettings.model_validate({"timeout_s": 20.0} | options)
    client = EncoderClient(saved, settings, EncoderAddress(process.path, changes.append))
    await client.start()
    try:
        yield client, changes
    finally:
        await client.aclose()


async def test_it_opens_its_bundle_and_gets_vectors(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process) as (client, changes):
        assert process.openings == [(saved.digest, saved.path)]
        asked = [asyncio.create_task(client.encode(text)) for text in ("first", "sécond")]
        queries = [await process.seen(Kind.QUERY) for _ in asked]
        assert [query.text() for query in queries] == ["first", "sécond"]
        # In any order.
        for query, share in zip(reversed(queries), (0.0, 0.5), strict=True):
            row = np.array([share, query.number, 0, 0], dtype=np.float32)
            process.say(packed(Kind.VECTOR, query.number, row.tobytes()))
        for task, query, share in zip(asked, queries, (0.5, 0.0), strict=True):
            vector, lost = await task
            assert (vector.tolist(), lost) == ([query.number, 0, 0], share)
    assert changes == [True]


async def test_a_text_is_cut_before_it_is_sent_and_counts_what_was_cut(saved: RouterBundle, process: Process) -> None:
    limit = 16 * CHARACTERS_PER_TOKEN
    async with started(saved, process) as (client, _):
        asked = asyncio.create_task(client.encode("x" * (4 * limit)))
        query = await process.seen(Kind.QUERY)
        assert len(query.payload) == limit
        process.say(packed(Kind.VECTOR, query.number, LOST_AND_VECTOR.tobytes()))
        # A quarter was sent, and half of that was read.
        assert (await asked)[1] == pytest.approx(1 - 0.25 * 0.5)


async def test_a_query_that_failed_says_why(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process) as (client, _):
        asked = asyncio.create_task(client.encode("x"))
        query = await process.seen(Kind.QUERY)
        process.say(packed(Kind.FAILED, query.number, b"the encoder failed (MemoryError)"))
        with pytest.raises(RoutingUnavailableError, match=r"failed \(MemoryError\)"):
            await asked


async def test_a_caller_that_leaves_has_its_query_given_up(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process) as (client, changes):
        asked = asyncio.create_task(client.encode("x"))
        query = await process.seen(Kind.QUERY)
        asked.cancel()
        assert (await process.seen(Kind.GIVE_UP)).number == query.number
        # Its answer was under way already: nobody's any more.
        process.say(packed(Kind.VECTOR, query.number, LOST_AND_VECTOR.tobytes()))
        assert asked.cancelled()
        assert client.is_up
    assert changes == [True]


async def test_a_query_out_of_time_is_given_up_and_the_next_one_asked(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process, timeout_s=0.05) as (client, changes):
        for _ in range(2):
            with pytest.raises(RoutingUnavailableError, match="late"):
                await client.encode("x")
            number = (await process.seen(Kind.QUERY)).number
            assert (await process.seen(Kind.GIVE_UP)).number == number
    # Slow it is, but it answers: late queries are no reason to turn others away.
    assert changes == [True]


async def test_one_that_does_not_even_confirm_is_not_asked_until_it_speaks(
    saved: RouterBundle, process: Process
) -> None:
    process.confirms = False
    async with started(saved, process, timeout_s=0.05) as (client, changes):
        with pytest.raises(RoutingUnavailableError, match="late"):
            await client.encode("x")
        number = (await process.seen(Kind.QUERY)).number
        await process.seen(Kind.GIVE_UP)
        await eventually(lambda: _says(not client.is_up))
        with pytest.raises(RoutingUnavailableError, match="late"):
            await client.encode("y")
        process.say(packed(Kind.GIVEN_UP, number))
        await eventually(lambda: _says(client.is_up))
        assert process.frames.empty()
    assert changes == [True, False, True]


async def _says(is_so: bool) -> bool:
    return is_so


async def test_a_lost_process_fails_who_waits_at_once_and_is_found_again(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process) as (client, changes):
        asked = [asyncio.create_task(client.encode("x")) for _ in range(3)]
        await process.seen(Kind.QUERY)
        process.answers_to_open = [None, packed(Kind.REFUSED, 0, b"not now"), packed(Kind.OPENED)]
        process.hang_up()
        failed = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(error) for error in failed] == ["the encoder is down"] * 3
        with pytest.raises(RoutingUnavailableError, match="the encoder is down"):
            await client.encode("x")
        assert client.has_answered
        await eventually(lambda: _says(client.is_up))
        assert process.openings == [(saved.digest, saved.path)] * 4
    assert changes == [True, False, True]


async def test_what_is_refused_at_the_start_ends_it(saved: RouterBundle, process: Process) -> None:
    process.answers_to_open = [packed(Kind.REFUSED, 0, b"pip install openvino")]
    with pytest.raises(ConfigError, match="pip install openvino"):
        async with started(saved, process):
            pass
    assert len(process.openings) == 1


async def test_a_process_that_is_lost_at_the_start_is_waited_for_in_the_background(
    saved: RouterBundle, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    process.answers_to_open = [None, packed(Kind.OPENED)]
    with caplog.at_level(logging.INFO):
        async with started(saved, process) as (client, changes):
            assert (client.has_answered, client.is_up) == (False, False)
            with pytest.raises(RoutingUnavailableError, match="not loaded"):
                await client.encode("x")
            await eventually(lambda: _says(client.has_answered and client.is_up))
    assert changes == [False, True]
    assert [record.getMessage() for record in caplog.records] == ["encoder_unavailable", "encoder_up"]


async def test_without_any_socket_it_starts_and_says_that_it_is_down(saved: RouterBundle, process: Process) -> None:
    await process.stop()
    process.path.unlink(missing_ok=True)
    async with started(saved, process) as (client, changes):
        assert not client.is_up
        await process.start()
        await eventually(lambda: _says(client.is_up))
    assert changes == [False, True]


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", packed(Kind.OPENED), packed(Kind.QUERY, 1), packed(Kind.FAILED, 1, b"\xff")],
)
async def test_a_process_that_speaks_no_frames_is_left(saved: RouterBundle, process: Process, said: bytes) -> None:
    async with started(saved, process) as (client, changes):
        asked = asyncio.create_task(client.encode("x"))
        await process.seen(Kind.QUERY)
        process.say(said)
        with pytest.raises(RoutingUnavailableError, match="down"):
            await asked
        await eventually(lambda: _says(client.is_up))
    assert changes == [True, False, True]


async def test_a_vector_of_another_size_is_no_answer(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process) as (client, _):
        asked = asyncio.create_task(client.encode("x"))
        query = await process.seen(Kind.QUERY)
        process.say(packed(Kind.VECTOR, query.number, LOST_AND_VECTOR.tobytes()[4:]))
        with pytest.raises(RoutingUnavailableError, match="down"):
            await asked


async def test_more_than_the_queue_holds_is_turned_away(saved: RouterBundle, process: Process) -> None:
    async with started(saved, process, max_queue=2) as (client, _):
        asked = [asyncio.create_task(client.encode("x")) for _ in range(2)]
        query = await process.seen(Kind.QUERY)
        with pytest.raises(RoutingUnavailableError, match="queue is full"):
            await client.encode("x")
        process.say(packed(Kind.VECTOR, query.number, LOST_AND_VECTOR.tobytes()))
        await asked[0]
        asked.append(asyncio.create_task(client.encode("x")))
        await process.seen(Kind.QUERY)
        await process.seen(Kind.QUERY)
    # Closing turns away who still waits.
    await asyncio.wait(asked)
    assert [str(task.exception()) for task in asked[1:]] == ["the encoder is down"] * 2


async def test_closing_says_nothing_of_the_encoder(saved: RouterBundle, process: Process) -> None:
    """The next bundle's client may be up already, and tells of the same process."""
    async with started(saved, process) as (client, changes):
        pass
    await asyncio.sleep(0)
    assert not client.is_up
    assert changes == [True]
    with pytest.raises(RoutingUnavailableError):
        await client.encode("x")


def test_a_features_bundle_needs_no_process(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="needs no process"):
        EncoderClient(
            small_bundle(tmp_path / "bundle"), EncoderSettings(), EncoderAddress(tmp_path / "s", lambda _: None)
        )
