"""MemoryState stays bounded whatever names come in."""

from gateway.state.memory import MemoryState


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_expired_values_are_dropped_as_others_come_in() -> None:
    clock = Clock()
    state = MemoryState(clock)
    for number in range(5_000):
        clock.now += 1
        await state.put(f"session-{number}", b"model", ttl_s=10)
    assert len(state) <= 10


async def test_old_counters_are_dropped_as_others_come_in() -> None:
    clock = Clock()
    state = MemoryState(clock)
    for number in range(5_000):
        clock.now += 1
        await state.count(f"key-{number}", 60)
    assert len(state) <= 60


async def test_past_the_cap_the_oldest_value_goes_first() -> None:
    state = MemoryState(Clock(), max_values=3)
    for name in "abc":
        await state.put(name, name.encode(), ttl_s=60)
    await state.put("a", b"again", ttl_s=60)
    await state.put("d", b"d", ttl_s=60)
    assert [await state.get(name) for name in "abcd"] == [b"again", None, b"c", b"d"]


async def test_a_flood_of_names_within_their_time_stays_under_the_cap() -> None:
    state = MemoryState(Clock(), max_values=100)
    for number in range(1_000):
        await state.put(f"session-{number}", b"model", ttl_s=3600)
    assert len(state) == 100


async def test_one_busy_name_is_one_entry() -> None:
    clock = Clock()
    state = MemoryState(clock)
    for _ in range(1_000):
        clock.now += 1
        await state.put("session", b"model", ttl_s=3600)
        await state.count("key", 60)
    assert len(state) == 2
