"""Counters in Redis: one Lua script, and many counts in one call of it.

A command costs the client a few tenths of a millisecond of its event loop, so with a command each a burst of a hundred
requests would miss the deadline of `state.timeout_s` on counting alone. Counts that arrive while one call is out
therefore go together with the next: a call counts any number of names, each by any number.

Promises: every count gets a number of its own, in the order of arrival; a name that Redis refuses fails alone; a caller
that has given up is not counted if its call was not out yet. Windows are those of the server's clock.
"""

import asyncio
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

# ARGV holds (window in seconds, by how much) for each of KEYS. The window's number is kept beside the count, so that a
# jump of the server's clock starts a new window instead of freezing an old one. The answer is (count, seconds left) for
# each of KEYS, or (0, what is wrong).
COUNT_SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function add(key, window_s, amount)
  local window = math.floor(now / window_s)
  local number = string.format('%d', window)
  local count = tonumber(amount)
  if redis.call('HGET', key, 'window') == number then
    count = redis.call('HINCRBY', key, 'count', amount)
  else
    redis.call('HSET', key, 'window', number, 'count', amount)
    redis.call('EXPIRE', key, window_s * 2)
  end
  return {count, string.format('%.6f', (window + 1) * window_s - now)}
end

local answers = {}
for i, key in ipairs(KEYS) do
  local ok, answer = pcall(add, key, tonumber(ARGV[2 * i - 1]), ARGV[2 * i])
  if not ok then
    answer = {0, tostring(type(answer) == 'table' and answer.err or answer)}
  end
  answers[i] = answer
end
return answers
"""

Count = tuple[int, float]
Waiting = dict[tuple[str, int], list["asyncio.Future[Count]"]]


class BatchedCounter:
    """Counts through `redis`. Each call of the script has `timeout_s`."""

    def __init__(self, redis: Redis, timeout_s: float) -> None:
        self._script = redis.register_script(COUNT_SCRIPT)
        self._timeout_s = timeout_s
        self._waiting: Waiting = {}
        self._sender: asyncio.Task[None] | None = None

    async def count(self, key: str, window_s: int) -> Count:
        """Add one to `key`; the count including this one, and the seconds left. Raises RedisError or TimeoutError."""
        future: asyncio.Future[Count] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((key, window_s), []).append(future)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all(), name="redis-counter")
        return await future

    async def aclose(self) -> None:
        """Give up what is out."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def _send_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            alive = {key: [future for future in futures if not future.done()] for key, futures in waiting.items()}
            await self._send({key: futures for key, futures in alive.items() if futures})

    async def _send(self, batch: Waiting) -> None:
        keys = [key for key, _ in batch]
        arguments = [number for (_, window_s), futures in batch.items() for number in (window_s, len(futures))]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            for futures in batch.values():
                _fail(futures, error)
            return
        for futures, (count, rest) in zip(batch.values(), answers, strict=True):
            if count == 0:
                _fail(futures, ResponseError(rest.decode(errors="replace")))
                continue
            for place, future in enumerate(futures, start=1 - len(futures)):
                if not future.done():
                    future.set_result((count + place, float(rest)))


def _fail(futures: list["asyncio.Future[Count]"], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
