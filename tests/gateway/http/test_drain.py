"""How a process stops: what runs finishes, what outlasts the grace is told so."""

import asyncio

import pytest

from gateway.errors import ShuttingDownError
from gateway.http.drain import Drain
from gateway.http.watch import Watch


async def never() -> dict[str, str]:
    """A connection on which nothing happens."""
    await asyncio.Event().wait()
    return {}


async def test_new_requests_are_refused_once_it_has_begun() -> None:
    drain = Drain(grace_s=1)
    drain.begin()
    with pytest.raises(ShuttingDownError):
        drain.enter()


async def test_it_is_over_at_once_when_nothing_runs() -> None:
    drain = Drain(grace_s=3600)
    await drain.finish()
    assert drain.has_begun


async def test_it_waits_for_running_requests() -> None:
    drain = Drain(grace_s=3600)
    ended = []

    async def request() -> None:
        drain.enter()
        await asyncio.sleep(0.05)
        ended.append("request")
        drain.leave()

    running = asyncio.create_task(request())
    await asyncio.sleep(0)
    await drain.finish()
    assert ended == ["request"]
    await running


async def test_at_the_deadline_what_still_runs_is_interrupted() -> None:
    drain = Drain(grace_s=0.05)

    async def request() -> None:
        drain.enter()
        try:
            with Watch(never) as watch:
                drain.attach(watch)
                await asyncio.Event().wait()
        finally:
            drain.leave()

    running = asyncio.create_task(request())
    await asyncio.sleep(0)
    await drain.finish()
    with pytest.raises(ShuttingDownError):
        await running


async def test_a_request_that_reaches_its_model_after_the_deadline_is_interrupted_too() -> None:
    drain = Drain(grace_s=0.0)
    with Watch(never) as watch:
        drain.enter()
        await drain.finish()
        with pytest.raises(ShuttingDownError):
            drain.attach(watch)
