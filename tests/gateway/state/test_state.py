"""What every State promises: the same tests on memory and on a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.state.base import State
from gateway.state.memory import MemoryState
from gateway.state.redis import RedisState

Wait = Callable[[float], Awaitable[None]]
AGES_S = 10**7  # a window that does not end during a test


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[tuple[State, Wait]]:
    """A state, and how to let its time pass."""
    clock = FakeClock()
    state: State
    wait: Wait
    if request.param == "memory":
        state, wait = MemoryState(clock), clock.wait
    else:
        state, wait = RedisState(request.getfixturevalue("redis_server").url, timeout_s=5.0), asyncio.sleep
    yield state, wait
    await state.aclose()


async def test_a_value_is_kept_until_it_expires(stored: tuple[State, Wait]) -> None:
    state, wait = stored
    assert await state.get("session") is None
    await state.put("session", b"\x00model\xff", ttl_s=1.0)
    assert await state.get("session") == b"\x00model\xff"
    await wait(1.1)
    assert await state.get("session") is None


async def test_putting_again_replaces_the_value_and_its_time(stored: tuple[State, Wait]) -> None:
    state, wait = stored
    await state.put("session", b"old", ttl_s=0.1)
    await state.put("session", b"new", ttl_s=60)
    await wait(0.15)
    assert await state.get("session") == b"new"


async def test_counters_count_apart_and_say_when_they_end(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    counts = [(await state.count("alice", AGES_S))[0] for _ in range(3)]
    assert counts == [1, 2, 3]
    count, ends_in_s = await state.count("bob", AGES_S)
    assert count == 1
    assert 0 < ends_in_s <= AGES_S


async def test_a_new_window_starts_at_one(stored: tuple[State, Wait]) -> None:
    state, wait = stored
    await state.count("alice", 1)
    _, ends_in_s = await state.count("alice", 1)
    await wait(ends_in_s + 0.01)
    assert (await state.count("alice", 1))[0] == 1


async def test_parallel_counts_are_all_different(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    answers = await asyncio.gather(*(state.count("alice", AGES_S) for _ in range(200)))
    assert sorted(count for count, _ in answers) == list(range(1, 201))


async def test_values_counters_and_records_do_not_meet_under_one_name(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    await state.put("value", b"v", ttl_s=60)
    await state.count("counter", AGES_S)
    await state.put_record("hash", "a", b"1")
    assert await state.get("value") == b"v"
    assert await state.records("hash") == {"a": b"1"}


async def test_records_are_added_and_replaced(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    assert await state.records("keys") == {}
    await state.put_record("keys", "a", b"1")
    await state.put_record("keys", "b", b"2")
    await state.put_record("keys", "a", b"3")
    assert await state.records("keys") == {"a": b"3", "b": b"2"}


async def test_it_answers(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    assert await state.ping() is True
