"""State in Redis: shared by every worker and host.

Promises: every call ends within `timeout_s`; the client never retries; counters are one Lua script on the server's own
clock, so they are exact across processes and immune to a worker's clock. After `failures_to_open` failures in a row
the breaker opens: calls fail at once, and every `cooldown_s` a background probe (never a request) tries Redis again.
One log line per change. An answer that says no (wrong type, out of memory, read-only replica) is an error too, but a
quick one: it leaves the breaker alone and is logged at most once a minute.
Leaves out: Redis Cluster and Sentinel discovery. Every script touches one key.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StateUnavailableError
from gateway.observability.logs import log_event

Answer = TypeVar("Answer")

PREFIX: Final = "gateway:"
CONNECT_TIMEOUT_S: Final = 1.0
REFUSAL_LOG_INTERVAL_S: Final = 60.0

# KEYS[1] the counter; ARGV[1] the window in seconds. The window's number is kept beside the count, so that a jump of
# the server's clock starts a new window instead of freezing an old one.
COUNT_SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local window_s = tonumber(ARGV[1])
local window = math.floor(now / window_s)
local count = 1
if redis.call('HGET', KEYS[1], 'window') == string.format('%d', window) then
  count = redis.call('HINCRBY', KEYS[1], 'count', 1)
else
  redis.call('HSET', KEYS[1], 'window', string.format('%d', window), 'count', 1)
  redis.call('EXPIRE', KEYS[1], window_s * 2)
end
return {count, string.format('%.6f', (window + 1) * window_s - now)}
"""

_UNAVAILABLE: Final = "shared state is not available; try again shortly"
_logger = logging.getLogger("gateway.state")


class RedisState:
    """Implements State on a Redis server. `on_change` hears True or False when Redis comes back or goes."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        failures_to_open: int = 3,
        cooldown_s: float = 2.0,
        max_connections: int = 64,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._failures_to_open = failures_to_open
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._is_open = False
        self._probe_at = 0.0
        self._probe: asyncio.Task[None] | None = None
        self._refusal_logged_at: float | None = None
        # The socket's own timeouts only back up asyncio.timeout below, which also covers connecting and waiting for a
        # free connection; they are longer so that the probe may take its time.
        patience_s = max(timeout_s, CONNECT_TIMEOUT_S)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=patience_s,
            socket_timeout=patience_s,
            socket_connect_timeout=patience_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._count = self._redis.register_script(COUNT_SCRIPT)

    async def get(self, name: str) -> bytes | None:
        """The value under `name`, or None if absent or expired. Raises StateUnavailableError, as every call here."""
        return cast("bytes | None", await self._call(lambda: self._redis.get(PREFIX + name)))

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` under `name` for `ttl_s` seconds."""
        milliseconds = max(1, round(ttl_s * 1000))
        await self._call(lambda: self._redis.set(PREFIX + name, value, px=milliseconds))

    async def count(self, name: str, window_s: int) -> tuple[int, float]:
        """Add one to the counter `name` of the current window; the count, and seconds until the window ends."""
        count, remaining = await self._call(lambda: self._count(keys=[PREFIX + name], args=[window_s]))
        return int(count), float(remaining)

    async def records(self, name: str) -> dict[str, bytes]:
        """Every record of the hash `name`, by id."""
        found = cast("dict[bytes, bytes]", await self._call(lambda: self._redis.hgetall(PREFIX + name)))
        return {record_id.decode(errors="replace"): value for record_id, value in found.items()}

    async def put_record(self, name: str, record_id: str, value: bytes) -> None:
        """Add or replace one record of the hash `name`."""
        await self._call(lambda: self._redis.hset(PREFIX + name, record_id, value))

    async def ping(self) -> bool:
        """True if Redis answers within the deadline; False at once while the breaker is open."""
        try:
            await self._call(self._redis.ping)
        except StateUnavailableError:
            return False
        return True

    async def aclose(self) -> None:
        """Stop the probe and close every connection."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    async def _call(self, operation: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._is_open:
            self._probe_if_due()
            raise StateUnavailableError(_UNAVAILABLE, retry_after_s=self._cooldown_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await operation()
        except (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError) as error:
            self._failed(error)
            raise StateUnavailableError(_UNAVAILABLE, retry_after_s=self._cooldown_s) from error
        except RedisError as error:
            self._refused(error)
            raise StateUnavailableError(_UNAVAILABLE, retry_after_s=self._cooldown_s) from error
        self._failures = 0
        return answer

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        if self._is_open or self._failures < self._failures_to_open:
            return
        self._is_open = True
        self._probe_at = self._clock() + self._cooldown_s
        fault = str(error) or f"no answer within {self._timeout_s} s"
        log_event(_logger, "state_unavailable", level=logging.ERROR, error=type(error).__name__, detail=fault)
        if self._on_change is not None:
            self._on_change(False)

    def _refused(self, error: RedisError) -> None:
        now = self._clock()
        if self._refusal_logged_at is not None and now - self._refusal_logged_at < REFUSAL_LOG_INTERVAL_S:
            return
        self._refusal_logged_at = now
        log_event(_logger, "state_refused", level=logging.ERROR, error=type(error).__name__, detail=str(error))

    def _probe_if_due(self) -> None:
        if self._clock() >= self._probe_at and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._try_again(), name="redis-probe")

    async def _try_again(self) -> None:
        """Connect at leisure, then see whether an answer now comes within the deadline of a request."""
        try:
            async with asyncio.timeout(max(self._timeout_s, CONNECT_TIMEOUT_S)):
                await self._redis.ping()
            async with asyncio.timeout(self._timeout_s):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            self._probe_at = self._clock() + self._cooldown_s
            return
        self._is_open, self._failures = False, 0
        log_event(_logger, "state_available", level=logging.WARNING)
        if self._on_change is not None:
            self._on_change(True)
