"""A deadline that costs nothing where nothing has to be waited for.

`asyncio.timeout` sets a timer and takes it back; but most of the time a body is already there, and a client's socket
takes what it is sent. So the first step of the work is taken at once, and only work that then waits gets a timer. The
steps are those that `await` would take, in the same task.
"""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(timeout_s: float, work: Awaitable[Result]) -> Result:
    """The result of `work`. Raises TimeoutError if it is not there after `timeout_s`."""
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        result: Result = done.value
        return result
    async with asyncio.timeout(timeout_s):
        return await _rest(steps, waits_for)


@coroutine
def _rest(steps: Generator[Any, Any, Result], waits_for: Any) -> Generator[Any, Any, Result]:
    """The steps that are left of work that has been begun and waits for `waits_for`."""
    while True:
        try:
            try:
                value = yield waits_for
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, too, is the work's to take
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(value)
        except StopIteration as done:
            result: Result = done.value
            return result
