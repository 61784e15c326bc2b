"""A deadline on work that is done at once, that waits, that fails, and that is cancelled."""

import asyncio

import pytest

from gateway.http.deadline import within


async def test_work_that_does_not_wait_is_done_without_a_turn_of_the_loop() -> None:
    async def work() -> int:
        return 7

    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    assert await within(60, work()) == 7
    assert turns == []


async def test_work_may_wait_many_times_and_catch_what_it_waits_for() -> None:
    loop = asyncio.get_running_loop()

    async def work() -> list[object]:
        results: list[object] = []
        for number in range(3):
            waiter: asyncio.Future[int] = loop.create_future()
            loop.call_soon(waiter.set_result, number)
            results.append(await waiter)
        failing: asyncio.Future[int] = loop.create_future()
        loop.call_soon(failing.set_exception, ValueError("no"))
        try:
            await failing
        except ValueError as error:
            results.append(str(error))
        await asyncio.sleep(0)
        return results

    assert await within(60, work()) == [0, 1, 2, "no"]


@pytest.mark.parametrize("waits_first", [False, True])
async def test_what_work_raises_comes_out(waits_first: bool) -> None:
    async def work() -> None:
        if waits_first:
            await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await within(60, work())


async def test_work_that_is_not_done_in_time_is_cancelled() -> None:
    was_cancelled = False

    async def work() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert was_cancelled


async def test_a_cancellation_reaches_the_work_and_comes_out() -> None:
    was_cancelled = False

    async def work() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    running = asyncio.create_task(within(60, work()))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert was_cancelled
