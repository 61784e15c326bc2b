"""State in Redis: shared by every worker and host.

Promises: every call ends within `timeout_s`; the client never retries; counters are one Lua script on the server's own
clock, so they are exact across processes and immune to a worker's clock. The first failure opens the breaker, so that a
request waits once at most: calls fail at once while a background probe (never a request) tries Redis, immediately and
then every `cooldown_s`. If the first probe succeeds it was one late answer and nothing is said; else there is one log
line when Redis goes and one when it is back. An answer that says no (wrong type, out of memory, read-only replica) is
an error too, but a quick one: it leaves the breaker alone and is logged at most once a minute.
Leaves out: Redis Cluster and Sentinel discovery. A count may touch several keys in one script.
"""

import asyncio
import hashlib
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
from gateway.state.base import NO_DOCUMENT, Document
from gateway.state.counting import BatchedCounter

Answer = TypeVar("Answer")

PREFIX: Final = "gateway:"
CONNECT_TIMEOUT_S: Final = 1.0
REFUSAL_LOG_INTERVAL_S: Final = 60.0

# A document is a hash of its version, its text and the text's digest: after a fail-over that lost a change, another
# document may have the same version. ARGV holds the version that is to be replaced, the new text and its digest.
REPLACE_SCRIPT: Final = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'version', string.format('%d', ARGV[1] + 1), 'document', ARGV[2], 'sha256', ARGV[3])
return 1
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
        cooldown_s: float = 2.0,
        max_connections: int = 8,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._on_change = on_change
        self._is_open = False
        self._is_reported_up: bool | None = None  # unknown until the first answer
        self._fault = ""
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
        self._counter = BatchedCounter(self._redis, timeout_s)
        self._replace = self._redis.register_script(REPLACE_SCRIPT)

    async def get(self, name: str) -> bytes | None:
        """The value under `name`, or None if absent or expired. Raises StateUnavailableError, as every call here."""
        return cast("bytes | None", await self._call(lambda: self._redis.get(PREFIX + name)))

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` under `name` for `ttl_s` seconds."""
        milliseconds = max(1, round(ttl_s * 1000))
        await self._call(lambda: self._redis.set(PREFIX + name, value, px=milliseconds))

    async def count(self, name: str, window_s: int) -> tuple[int, float]:
        """Add one to the counter `name` of the current window; the count, and seconds until the window ends."""
        return await self._call(lambda: self._counter.count(PREFIX + name, window_s))

    async def document(self, name: str, known: Document = NO_DOCUMENT) -> Document | None:
        """The document `name`; None while it is `known`. Asks for the text only if it is not."""
        found = await self._call(lambda: self._redis.hmget(PREFIX + name, ["version", "sha256"]))
        version, digest = cast("list[bytes | None]", found)
        if _version(version) == known.version and (version is None or digest == _digest(known.text)):
            return None
        found = await self._call(lambda: self._redis.hmget(PREFIX + name, ["version", "document"]))
        version, text = cast("list[bytes | None]", found)
        return Document(_version(version), text or b"")

    async def replace_document(self, name: str, known: int, text: bytes) -> bool:
        """Write the version after `known`; False if the document has another version by now."""
        return bool(await self._call(lambda: self._replace(keys=[PREFIX + name], args=[known, text, _digest(text)])))

    async def ping(self) -> bool:
        """True if Redis answers within the deadline; False at once while the breaker is open."""
        try:
            await self._call(self._redis.ping)
        except StateUnavailableError:
            return False
        return True

    async def aclose(self) -> None:
        """Stop the probe and the counter and close every connection."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._counter.aclose()
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
        if self._is_reported_up is None:
            self._is_reported_up = True
        return answer

    def _failed(self, error: BaseException) -> None:
        """Stop asking, and find out in the background whether it was one late answer or an outage."""
        if self._is_open:
            return
        self._is_open = True
        self._fault = f"{type(error).__name__}: {error}" if str(error) else f"no answer within {self._timeout_s} s"
        self._probe_at = self._clock()
        self._probe_if_due()

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
            self._report(is_up=False)
            return
        self._is_open = False
        self._report(is_up=True)

    def _report(self, *, is_up: bool) -> None:
        if is_up == self._is_reported_up:
            return
        was_down, self._is_reported_up = self._is_reported_up is False, is_up
        if was_down:
            log_event(_logger, "state_available", level=logging.WARNING)
        elif not is_up:
            log_event(_logger, "state_unavailable", level=logging.ERROR, detail=self._fault)
        if self._on_change is not None:
            self._on_change(is_up)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _version(text: bytes | None) -> int:
    """The version of a document: 0 without one, -1 for what is no number and so no document's version."""
    if text is None:
        return 0
    return int(text) if text.isdigit() else -1
