"""Where answers are kept: bounds, time to live, and a store that is away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.store import ENTRY_OVERHEAD_BYTES, MemoryAnswers, SharedAnswers
from gateway.state.redis import RedisState
from tests.support.redis_server import RedisServer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def memory(clock: Clock | None = None, *, room: int = 3, size: int = 100) -> MemoryAnswers:
    """A store with room for so many answers of so many bytes."""
    max_bytes = room * (size + ENTRY_OVERHEAD_BYTES)
    return MemoryAnswers(ttl_s=10.0, max_bytes=max_bytes, clock=clock or Clock())


async def test_an_answer_is_forgotten_after_its_time() -> None:
    clock = Clock()
    answers = memory(clock)
    await answers.put("a", b"1")
    clock.now = 9.9
    assert await answers.get("a") == b"1"
    await answers.put("b", b"2")
    clock.now = 10.0
    assert await answers.get("a") is None
    assert await answers.get("b") == b"2"


async def test_the_answer_unused_for_longest_goes_first() -> None:
    answers = memory()
    for name in "abc":
        await answers.put(name, bytes(100))
    await answers.get("a")
    await answers.put("d", bytes(100))
    assert [name for name in "abcd" if await answers.get(name) is not None] == ["a", "c", "d"]


async def test_a_later_answer_takes_the_place_of_an_earlier_one() -> None:
    answers = memory()
    for size in (100, 50, 100):
        await answers.put("a", bytes(size))
    await answers.put("b", bytes(100))
    await answers.put("c", bytes(100))
    assert [len(await answers.get(name) or b"") for name in "abc"] == [100, 100, 100]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2000)), max_size=30))
async def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    answers = memory(room=2, size=500)
    for name, size in puts:
        is_kept = await answers.put(name, bytes(size))
        held = [len(found) for one in "abcdef" if (found := await answers.get(one)) is not None]
        assert sum(held) + len(held) * ENTRY_OVERHEAD_BYTES <= 2 * (500 + ENTRY_OVERHEAD_BYTES)
        assert (await answers.get(name) is not None) == is_kept == (size <= 1000 + ENTRY_OVERHEAD_BYTES)


@pytest.mark.redis
async def test_redis_keeps_answers_for_their_time_and_is_missed_quietly(own_redis_server: RedisServer) -> None:
    first, second = (RedisState(own_redis_server.url, 1.0) for _ in range(2))
    try:
        assert await SharedAnswers(first, ttl_s=100.0).put("a", b"data: 1\n\n\x00\xff")
        answers = SharedAnswers(second, ttl_s=100.0)
        assert await answers.get("a") == b"data: 1\n\n\x00\xff"
        assert await answers.get("b") is None
        assert own_redis_server.command("TTL", "gateway:answer:a") in {b":100\r\n", b":99\r\n"}
        own_redis_server.kill()
        assert await answers.get("a") is None
        assert not await answers.put("a", b"2")
    finally:
        await first.aclose()
        await second.aclose()
