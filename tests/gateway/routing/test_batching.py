import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from gateway.routing.base import RoutingUnavailableError
from gateway.routing.batching import BatchingEncoder, EncodeFunction, Place
from router_core.tensors import FloatArray
from tests.support.eventually import eventually

Rows = tuple[FloatArray, FloatArray]


class Gate:
    """An encode function that waits for the test before each batch, and notes what it was given and where it ran."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    def __call__(self, texts: Sequence[str]) -> Rows:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.open.wait(20)
        return lengths(texts)

    async def wait_until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=20)


def lengths(texts: Sequence[str]) -> Rows:
    """Each text's length as its vector, and a thousandth of that as what it lost."""
    vectors = np.array([[len(text)] for text in texts], dtype=np.float32)
    return vectors, vectors[:, 0] / 1000


@asynccontextmanager
async def running(
    encode: EncodeFunction, *, timeout_s: float = 20.0, max_batch: int = 32, max_queue: int = 256
) -> AsyncIterator[BatchingEncoder]:
    encoder = BatchingEncoder(lambda: encode, timeout_s=timeout_s, max_batch=max_batch, max_queue=max_queue)
    await encoder.start()
    try:
        yield encoder
    finally:
        if isinstance(encode, Gate):
            encode.open.set()
        await encoder.aclose()


def in_line(encoder: BatchingEncoder, texts: Sequence[str]) -> list[Place]:
    """Callers that have taken their places, in this order."""
    return [encoder.submit(text) for text in texts]


async def test_each_caller_gets_its_own_row() -> None:
    async with running(lengths) as encoder:
        rows = await asyncio.gather(*(encoder.submit("x" * n) for n in range(100)))
    assert [vector.tolist() for vector, _ in rows] == [[n] for n in range(100)]
    assert [lost for _, lost in rows] == pytest.approx([n / 1000 for n in range(100)])
    assert all(type(lost) is float for _, lost in rows)


async def test_what_arrives_while_a_batch_runs_becomes_the_next_batch_oldest_first() -> None:
    gate = Gate()
    async with running(gate, max_batch=3) as encoder:
        first = in_line(encoder, ["a"])
        await gate.wait_until_entered()
        rest = in_line(encoder, ["b", "c", "d", "e"])
        gate.open.set()
        await asyncio.gather(*first, *rest)
    assert gate.batches == [["a"], ["b", "c", "d"], ["e"]]


async def test_texts_of_like_length_run_together_the_group_with_the_oldest_first() -> None:
    short, middle, long = "short", "m" * 100, "l" * 1000
    gate = Gate()
    async with running(gate) as encoder:
        first = in_line(encoder, ["a"])
        await gate.wait_until_entered()
        rest = in_line(encoder, [middle, short, long, short + "er", middle + "m"])
        gate.open.set()
        rows = await asyncio.gather(*first, *rest)
    assert gate.batches == [["a"], [middle, middle + "m"], [short, short + "er"], [long]]
    assert [vector.tolist() for vector, _ in rows] == [[1], [100], [5], [1000], [7], [101]]


async def test_a_short_text_is_answered_while_a_long_one_of_the_same_batch_still_runs() -> None:
    gate = Gate()
    long_may_end = threading.Event()

    def encode(texts: Sequence[str]) -> Rows:
        if len(texts[0]) > 100:
            assert long_may_end.wait(20)
        return gate(texts)

    async with running(encode) as encoder:
        first = in_line(encoder, ["a"])
        await gate.wait_until_entered()
        short, long = in_line(encoder, ["short", "l" * 1000])
        gate.open.set()
        assert (await short)[0].tolist() == [5]
        assert not long.done()
        long_may_end.set()
        await asyncio.gather(*first, long)


async def test_a_caller_that_leaves_while_another_group_runs_is_not_encoded() -> None:
    gate = Gate()
    async with running(gate) as encoder:
        first, leaver = in_line(encoder, ["a", "l" * 1000])
        await gate.wait_until_entered()
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        gate.open.set()
        await first
        await encoder.submit("b")
    assert gate.batches == [["a"], ["b"]]


async def test_encoding_runs_in_one_thread_that_is_not_the_event_loops() -> None:
    gate = Gate()
    gate.open.set()
    async with running(gate) as encoder:
        for text in ("a", "b", "c"):
            await encoder.submit(text)
    assert len(gate.threads) == 1
    assert threading.get_ident() not in gate.threads


async def test_a_full_queue_turns_away_at_once() -> None:
    gate = Gate()
    async with running(gate, max_queue=2) as encoder:
        first = in_line(encoder, ["a"])
        await gate.wait_until_entered()
        waiting = in_line(encoder, ["b", "c"])
        with pytest.raises(RoutingUnavailableError, match="queue is full"):
            encoder.submit("d")
        gate.open.set()
        assert len(await asyncio.gather(*first, *waiting)) == 3


async def test_a_caller_that_leaves_gives_up_its_place() -> None:
    gate = Gate()
    async with running(gate, max_queue=1) as encoder:
        first = in_line(encoder, ["a"])
        await gate.wait_until_entered()
        (leaver,) = in_line(encoder, ["b"])
        leaver.cancel()
        await asyncio.sleep(0)
        stayer = in_line(encoder, ["c"])
        gate.open.set()
        await asyncio.gather(*first, *stayer)
    assert gate.batches == [["a"], ["c"]]


async def test_a_caller_that_leaves_a_running_batch_disturbs_nobody() -> None:
    gate = Gate()
    async with running(gate) as encoder:
        leaver, stayer = in_line(encoder, ["a", "bb"])
        await gate.wait_until_entered()
        leaver.cancel()
        gate.open.set()
        assert (await stayer)[0].tolist() == [2]


async def until_late(encoder: BatchingEncoder) -> None:
    """Return once newcomers are turned away because the running batch is over its time."""

    async def is_late() -> bool:
        try:
            encoder.submit("probe").cancel()
        except RoutingUnavailableError as error:
            return "late" in str(error)
        return False

    await eventually(is_late)


async def test_while_a_batch_is_over_its_time_newcomers_are_turned_away_at_once() -> None:
    gate = Gate()
    async with running(gate, timeout_s=0.05) as encoder:
        slow = encoder.submit("a")
        await gate.wait_until_entered()
        await until_late(encoder)
        gate.open.set()
        # Late as it is, who has not left gets it; and then newcomers are welcome again.
        assert (await slow)[0].tolist() == [1]
        await asyncio.sleep(0)
        assert (await encoder.submit("cc"))[0].tolist() == [2]


async def test_who_has_waited_too_long_is_not_encoded() -> None:
    gate = Gate()
    async with running(gate, timeout_s=0.05) as encoder:
        slow = encoder.submit("a")
        await gate.wait_until_entered()
        waiting = encoder.submit("b")
        await until_late(encoder)
        gate.open.set()
        await slow
        with pytest.raises(RoutingUnavailableError, match="late"):
            await waiting
    assert gate.batches == [["a"]]


async def test_an_encoder_that_throws_fails_its_batch_and_no_other(caplog: Any) -> None:
    def throws_on_bad(texts: Sequence[str]) -> Rows:
        if "bad" in texts:
            raise MemoryError("out of memory while reading: secret prompt")
        return lengths(texts)

    with caplog.at_level(logging.INFO):
        async with running(throws_on_bad) as encoder:
            with pytest.raises(RoutingUnavailableError, match=r"the encoder failed \(MemoryError\)"):
                await encoder.submit("bad")
            assert (await encoder.submit("good"))[0].tolist() == [4]
    assert [record.getMessage() for record in caplog.records] == ["encoder_failed"]
    assert "secret prompt" not in repr([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize(("vectors", "lost"), [(2, 1), (1, 2), (2, 2), (0, 0)])
async def test_a_wrong_number_of_rows_is_a_failure(vectors: int, lost: int) -> None:
    rows = np.zeros((vectors, 1), dtype=np.float32), np.zeros(lost, dtype=np.float32)
    async with running(lambda texts: rows) as encoder:
        with pytest.raises(RoutingUnavailableError, match="the encoder failed"):
            await encoder.submit("a")


async def test_closing_turns_away_who_waits() -> None:
    gate = Gate()
    encoder = BatchingEncoder(lambda: gate, timeout_s=20.0, max_batch=1, max_queue=10)
    await encoder.start()
    tasks = in_line(encoder, ["a", "b"])
    await gate.wait_until_entered()
    await encoder.aclose()
    gate.open.set()
    for task in tasks:
        with pytest.raises(RoutingUnavailableError, match="stopping"):
            await task
    with pytest.raises(RoutingUnavailableError, match="stopping"):
        encoder.submit("c")


async def test_an_encoder_that_does_not_load_says_so_and_can_be_closed() -> None:
    def load() -> EncodeFunction:
        raise ModuleNotFoundError("No module named 'torch'")

    encoder = BatchingEncoder(load, timeout_s=1.0, max_batch=1, max_queue=1)
    with pytest.raises(ModuleNotFoundError):
        await encoder.start()
    await encoder.aclose()
