"""What every State promises: the same tests on memory and on a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.state.base import Document, State
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


async def test_values_counters_and_documents_do_not_meet_under_one_name(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    await state.put("value", b"v", ttl_s=60)
    await state.count("counter", AGES_S)
    assert await state.replace_document("document", 0, b"d")
    assert await state.get("value") == b"v"
    assert await state.document("document") == (1, b"d")


async def test_a_document_is_replaced_only_from_the_version_that_is_there(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    assert await state.document("control") is None
    assert await state.document("control", Document(3, b"x")) == (0, b"")
    assert await state.replace_document("control", 0, b"a")
    assert not await state.replace_document("control", 0, b"b")
    assert not await state.replace_document("control", 2, b"b")
    assert await state.document("control") == (1, b"a")
    assert await state.document("control", Document(1, b"a")) is None
    assert await state.document("control", Document(1, b"another")) == (1, b"a")
    assert await state.replace_document("control", 1, b"c")
    assert await state.document("control", Document(1, b"a")) == (2, b"c")


async def test_of_parallel_changes_one_is_made(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    made = await asyncio.gather(*(state.replace_document("control", 0, str(n).encode()) for n in range(8)))
    assert sum(made) == 1
    assert await state.document("control") == (1, str(made.index(True)).encode())


async def test_it_answers(stored: tuple[State, Wait]) -> None:
    state, _ = stored
    assert await state.ping() is True
