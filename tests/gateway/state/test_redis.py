"""RedisState when Redis is frozen, killed, or says no: bounded waiting, then none, then back by itself."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import StateUnavailableError
from gateway.state.redis import RedisState
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis
LONG_S = 3600.0


@asynccontextmanager
async def connected(server: RedisServer, **options: Any) -> AsyncIterator[RedisState]:
    state = RedisState(server.url, **({"timeout_s": 0.5} | options))
    try:
        yield state
    finally:
        await state.aclose()


async def failed(call: Coroutine[Any, Any, object]) -> StateUnavailableError:
    """The call's failure; ten seconds is what an unguarded client would exceed, not what we promise."""
    with pytest.raises(StateUnavailableError) as caught:
        async with asyncio.timeout(10):
            await call
    return caught.value


def fails_without_waiting(call: Coroutine[Any, Any, object]) -> bool:
    """Run the call to its first suspension: True if it failed before it had to wait for anything."""
    try:
        call.send(None)
    except StateUnavailableError:
        return True
    finally:
        call.close()
    return False


async def test_a_frozen_server_costs_one_deadline_and_then_nothing(own_redis_server: RedisServer) -> None:
    async with connected(own_redis_server, cooldown_s=LONG_S) as state:
        assert await state.ping()
        own_redis_server.freeze()
        await failed(state.count("alice", 60))
        assert fails_without_waiting(state.count("alice", 60))
        assert fails_without_waiting(state.get("session"))
        assert await state.ping() is False


async def test_parallel_calls_on_a_frozen_server_all_end(own_redis_server: RedisServer) -> None:
    async with connected(own_redis_server, cooldown_s=LONG_S, max_connections=4) as state:
        own_redis_server.freeze()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(state.get(str(n)) for n in range(50)), return_exceptions=True)
        assert all(isinstance(answer, StateUnavailableError) for answer in answers)


async def test_while_the_breaker_is_open_a_probe_is_sent_and_no_request_waits_for_it(
    own_redis_server: RedisServer,
) -> None:
    async with connected(own_redis_server, cooldown_s=0.0) as state:
        own_redis_server.freeze()
        await failed(state.get("session"))
        assert all(fails_without_waiting(state.get("session")) for _ in range(5))


async def test_a_thawed_server_is_found_again_and_answers_are_not_mixed_up(own_redis_server: RedisServer) -> None:
    async with connected(own_redis_server, cooldown_s=0.05) as state:
        await state.put("a", b"1", ttl_s=600)
        await state.put("b", b"2", ttl_s=600)
        own_redis_server.freeze()
        await failed(state.get("a"))
        own_redis_server.thaw()
        await eventually(state.ping)
        assert [await state.get(name) for name in "bab"] == [b"2", b"1", b"2"]


async def test_a_killed_server_fails_and_its_successor_is_found(own_redis_server: RedisServer) -> None:
    async with connected(own_redis_server, cooldown_s=0.05) as state:
        assert (await state.count("alice", 60))[0] == 1
        own_redis_server.kill()
        for _ in range(3):
            await failed(state.count("alice", 60))
        own_redis_server.start()
        await eventually(state.ping)
        assert (await state.count("alice", 60))[0] == 1


async def heard(changes: list[bool], change: bool) -> bool:
    return change in changes


async def test_one_line_and_one_call_per_change(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[bool] = []
    with caplog.at_level(logging.WARNING, logger="gateway.state"):
        async with connected(own_redis_server, cooldown_s=0.05, on_change=changes.append) as state:
            own_redis_server.kill()
            for _ in range(20):
                await failed(state.get("session"))
            await eventually(lambda: heard(changes, False))
            own_redis_server.start()
            await eventually(state.ping)
            await state.get("session")
    assert changes == [False, True]
    assert [record.getMessage() for record in caplog.records] == ["state_unavailable", "state_available"]


async def test_redis_that_is_late_at_the_very_first_call_is_reported_up_once_it_answers(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[bool] = []
    async with connected(own_redis_server, on_change=changes.append) as state:
        own_redis_server.freeze()
        assert await state.ping() is False
        own_redis_server.thaw()
        await eventually(state.ping)
    assert changes == [True]
    assert caplog.records == []


async def test_a_late_answer_is_not_an_outage(own_redis_server: RedisServer) -> None:
    changes: list[bool] = []
    async with connected(own_redis_server, on_change=changes.append) as state:
        assert await state.ping()
        for _ in range(3):
            own_redis_server.freeze()
            await failed(state.get("session"))
            own_redis_server.thaw()
            await eventually(state.ping)
        assert changes == []


async def test_a_name_of_the_wrong_type_fails_alone(redis_server: RedisServer) -> None:
    redis_server.command("SET", "gateway:alice", "not a counter")
    async with connected(redis_server, timeout_s=5.0) as state:
        for _ in range(5):
            await failed(state.count("alice", 60))
        assert (await state.count("bob", 60))[0] == 1


async def test_a_refused_name_does_not_fail_those_counted_with_it(redis_server: RedisServer) -> None:
    redis_server.command("SET", "gateway:alice", "not a counter")
    async with connected(redis_server, timeout_s=5.0) as state:
        names = ["bob", "alice", "bob", "alice", "carol"]
        answers = await asyncio.gather(*(state.count(name, 10**7) for name in names), return_exceptions=True)
    counts = [answer[0] if isinstance(answer, tuple) else type(answer) for answer in answers]
    assert counts == [1, StateUnavailableError, 2, StateUnavailableError, 1]


async def test_a_burst_of_counts_is_few_commands(redis_server: RedisServer) -> None:
    """Each command costs the event loop some tenths of a millisecond: one per count would miss the deadline."""
    async with connected(redis_server, timeout_s=5.0) as state:
        await state.count("warm", 60)
        redis_server.command("CONFIG", "RESETSTAT")
        await asyncio.gather(*(state.count(f"key {number % 7}", 60) for number in range(300)))
    statistics = redis_server.command("INFO", "commandstats").decode()
    calls = re.search(r"cmdstat_evalsha:calls=(\d+)", statistics)
    assert calls is not None
    assert int(calls[1]) <= 3


async def test_a_caller_that_left_before_its_call_went_out_is_not_counted(redis_server: RedisServer) -> None:
    async with connected(redis_server, timeout_s=5.0) as state:
        first = asyncio.create_task(state.count("alice", 10**7))
        left = asyncio.create_task(state.count("alice", 10**7))
        await asyncio.sleep(0)
        left.cancel()
        assert (await first)[0] == 1
        assert (await state.count("alice", 10**7))[0] == 2


@pytest.mark.parametrize(
    "settings", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")], ids=["full", "read-only"]
)
async def test_a_server_that_takes_no_writes_is_an_error_at_once(
    own_redis_server: RedisServer, settings: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert own_redis_server.command(*settings) == b"+OK\r\n"
    with caplog.at_level(logging.WARNING, logger="gateway.state"):
        async with connected(own_redis_server, timeout_s=5.0) as state:
            for _ in range(5):
                await failed(state.count("alice", 60))
            assert await state.get("session") is None
    assert [record.getMessage() for record in caplog.records] == ["state_refused"]


async def test_a_flushed_script_is_sent_again(redis_server: RedisServer) -> None:
    async with connected(redis_server, timeout_s=5.0) as state:
        first, _ = await state.count("alice", 10**7)
        redis_server.command("SCRIPT", "FLUSH")
        second, _ = await state.count("alice", 10**7)
    assert (first, second) == (1, 2)


async def test_a_counter_left_by_another_clock_does_not_freeze(redis_server: RedisServer) -> None:
    """The server's clock ran an hour ahead and was put right: the key counts afresh in the present window."""
    redis_server.command("HSET", "gateway:alice", "window", "99999999999", "count", "500")
    async with connected(redis_server, timeout_s=5.0) as state:
        assert (await state.count("alice", 60))[0] == 1


async def test_counters_expire(redis_server: RedisServer) -> None:
    async with connected(redis_server, timeout_s=5.0) as state:
        await state.count("alice", 60)
    left = int(redis_server.command("TTL", "gateway:alice")[1:])
    assert 0 < left <= 120


async def test_the_error_names_no_address(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    async with connected(own_redis_server) as state:
        error = await failed(state.get("session"))
    body = json.loads(error.body())["error"]
    assert (error.status, body["code"]) == (503, "state_unavailable")
    assert str(own_redis_server.port) not in body["message"]
    assert ("retry-after", "2") in error.headers()
