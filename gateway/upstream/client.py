"""The gateway's HTTP client: pooled keep-alive connections to the servers of every model.

Promises: connect, first-byte, idle and total deadlines that each raise their own error; bytes as they came (nothing is
decompressed, no redirect is followed, no cookie or proxy setting is kept); certificates are verified; an idle
connection that its server had already closed is replaced, once, if it closes without a byte soon after the request.
Leaves out retries, health and limits: gateway/http/walk.py and gateway/upstream/pool.py.
"""

import asyncio
import errno
import ssl
from collections import deque
from collections.abc import Mapping

from gateway.errors import (
    OutOfDescriptorsError,
    UpstreamConnectError,
    UpstreamConnectTimeoutError,
    UpstreamDisconnectedError,
)
from gateway.settings import UpstreamSettings
from gateway.upstream.base import NOT_BEGUN_S, Replica
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Exchange
from gateway.upstream.request_head import Address, Target, request_head, target_of

# vLLM's server closes an idle connection after 5 s. Ours goes first, so that no request meets a closing one.
KEEPALIVE_S = 4.0
# URLs come from the configuration, which can change while the gateway runs.
MOST_TARGETS = 4096


class HttpUpstream:
    """An Upstream; it belongs to the loop in which its first exchange was opened."""

    def __init__(
        self, settings: UpstreamSettings, *, keepalive_s: float = KEEPALIVE_S, not_begun_s: float = NOT_BEGUN_S
    ) -> None:
        self._settings = settings
        self._keepalive_s = keepalive_s
        self._not_begun_s = not_begun_s
        self._targets: dict[tuple[str, str], tuple[Target, _Origin]] = {}
        self._origins: dict[Address, _Origin] = {}
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    async def send(
        self, replica: Replica, *, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Open an exchange and wait for the answer's head; see Upstream. Raises ValueError for a bad URL or header."""
        known = self._targets.get((method, url))
        target, origin = known if known is not None else self._resolve(method, url)
        head = request_head(target, headers, len(body))
        now = origin.loop.time()
        connection = origin.take(now)
        if connection is not None:
            exchange = self._exchange(connection, origin, replica.model, now)
            connection.start(exchange, head, body)
            try:
                await exchange.head()
            except UpstreamDisconnectedError:
                if origin.loop.time() - now > self._not_begun_s:
                    raise
                # It was closed while it was idle. Only a new connection can tell whether the server is there.
            else:
                return exchange
        connection = await origin.connect(replica.model, self._settings.connect_timeout_s)
        exchange = self._exchange(connection, origin, replica.model, now)
        connection.start(exchange, head, body)
        await exchange.head()
        return exchange

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail."""
        self._is_closed = True
        for origin in self._origins.values():
            origin.close()
        # Transports tell that they are closed in the next turn.
        await asyncio.sleep(0)

    def _exchange(self, connection: Connection, origin: "_Origin", model: str, now: float) -> Exchange:
        settings = self._settings
        return Exchange(
            connection,
            origin.loop,
            model,
            first_byte_by=now + settings.first_byte_timeout_s,
            total_by=now + settings.total_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
        )

    def _resolve(self, method: str, url: str) -> "tuple[Target, _Origin]":
        if self._is_closed:
            raise RuntimeError("the client is closed")
        target = target_of(method, url)
        origin = self._origins.get(target.address)
        if origin is None:
            if target.address.is_tls and self._tls is None:
                # Reads the certificates that the system trusts, which takes a while: once, for the first server by TLS.
                self._tls = ssl.create_default_context()
            origin = _Origin(target.address, self._tls, self._keepalive_s)
            self._origins[target.address] = origin
        if len(self._targets) >= MOST_TARGETS:
            self._targets.clear()
        self._targets[method, url] = target, origin
        return target, origin


class _Origin:
    """The connections to one address."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, keepalive_s: float) -> None:
        self.loop = asyncio.get_running_loop()
        self._address = address
        self._tls = tls if address.is_tls else None
        self._keepalive_s = keepalive_s
        self._open: set[Connection] = set()
        # In the order in which they became idle. The last is used first, so that those beyond need grow old.
        self._idle: deque[Connection] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take(self, now: float) -> Connection | None:
        """An idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                if now - connection.idle_since < self._keepalive_s:
                    return connection
                connection.abort()
        return None

    async def connect(self, model: str, timeout_s: float) -> Connection:
        """A new connection. Raises UpstreamConnectError, or OutOfDescriptorsError where the fault is this process's."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        address = self._address
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self, self.loop),
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if self._tls is not None else None,
                )
        except TimeoutError as error:
            raise UpstreamConnectTimeoutError(f"no connection to the server of model {model!r} in time") from error
        except ssl.SSLCertVerificationError as error:
            raise UpstreamConnectError(f"the certificate of the server of model {model!r} is not trusted") from error
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                message = "the gateway has no file descriptor left; raise its limit (ulimit -n)"
                raise OutOfDescriptorsError(message, retry_after_s=1.0) from error
            raise UpstreamConnectError(f"the server of model {model!r} cannot be reached") from error
        return connection

    def close(self) -> None:
        """Abort every connection."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    def opened(self, connection: Connection) -> None:
        """See Home."""
        self._open.add(connection)
        if self._is_closed:
            connection.abort()

    def came_back(self, connection: Connection) -> None:
        """See Home."""
        if self._is_closed:
            connection.abort()
            return
        connection.idle_since = self.loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(self._keepalive_s, self._close_old)

    def lost(self, connection: Connection) -> None:
        """See Home. An idle one is left where it is: it is dropped when its turn comes."""
        self._open.discard(connection)

    def _close_old(self) -> None:
        idle, now = self._idle, self.loop.time()
        while idle and (not idle[0].is_open or now - idle[0].idle_since >= self._keepalive_s):
            connection = idle.popleft()
            if connection.is_open:
                connection.abort()
        self._sweep = self.loop.call_at(idle[0].idle_since + self._keepalive_s, self._close_old) if idle else None
