"""An `Upstream` on aiohttp: the reference for how a client behaves, beside which the gateway's own is tested.

Promises: connect, first-byte and idle deadlines that each raise their own error; bytes as they came (nothing is
decompressed, no redirect is followed, no cookie or proxy setting is kept); an exchange let go before its end closes its
connection, so that the model stops generating. Messages name the model, never its address.
Leaves out the total deadline.
"""

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from gateway.errors import (
    UpstreamConnectError,
    UpstreamConnectTimeoutError,
    UpstreamDisconnectedError,
    UpstreamError,
    UpstreamFirstByteTimeoutError,
    UpstreamIdleTimeoutError,
    UpstreamProtocolError,
)
from gateway.settings import UpstreamSettings
from gateway.upstream.base import Replica

# vLLM's server closes an idle connection after 5 s. Ours goes first, so that no request meets a closing one.
KEEPALIVE_S = 4.0
# Above this aiohttp wants a file to read from, in order not to write the whole body in one go.
LARGE_BODY_BYTES = 512 * 1024


class AiohttpAnswer:
    """An answer whose head has arrived. `first_byte_by` is in the loop's time."""

    def __init__(
        self, response: aiohttp.ClientResponse, *, model: str, first_byte_by: float, idle_timeout_s: float
    ) -> None:
        self._response = response
        self._model = model
        self._first_byte_by = first_byte_by
        self._idle_timeout_s = idle_timeout_s
        self._has_begun = False
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        """The body's next bytes; see UpstreamAnswer."""
        until = asyncio.get_running_loop().time() + self._idle_timeout_s
        try:
            async with asyncio.timeout_at(until if self._has_begun else max(self._first_byte_by, until)):
                chunk = await self._response.content.readany()
        except TimeoutError:
            if self._has_begun:
                raise UpstreamIdleTimeoutError(f"model {self._model!r} stopped in the middle of its answer") from None
            raise UpstreamFirstByteTimeoutError(f"model {self._model!r} did not begin to answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broke_off(error) from error
        self._has_begun = True
        return chunk

    def close(self) -> None:
        """Return the connection if the body is complete, else close it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    def _broke_off(self, error: Exception) -> UpstreamError:
        return UpstreamProtocolError(
            f"the server of model {self._model!r} broke off its answer ({type(error).__name__})"
        )


@dataclass(slots=True)
class _Connection:
    """What is known of the connection that a request went out on."""

    is_reused: bool = False


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.is_reused = True


class AiohttpUpstream:
    """Opens exchanges; the session is made at the first one, inside the running loop."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, replica: Replica, *, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AiohttpAnswer:
        """Open an exchange and wait for the answer's head; see Upstream."""
        settings, model = self._settings, replica.model
        first_byte_by = asyncio.get_running_loop().time() + settings.first_byte_timeout_s
        try:
            async with asyncio.timeout_at(first_byte_by):
                response = await self._request(method, URL(url, encoded=True), headers, body)
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamConnectTimeoutError(f"no connection to the server of model {model!r} in time") from error
        except TimeoutError as error:
            raise UpstreamFirstByteTimeoutError(f"model {model!r} did not begin to answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamConnectError(f"the server of model {model!r} cannot be reached") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise UpstreamDisconnectedError(
                f"the server of model {model!r} closed the connection before it answered"
            ) from error
        except aiohttp.ClientError as error:
            raise UpstreamProtocolError(f"the server of model {model!r} did not answer in HTTP") from error
        return AiohttpAnswer(response, model=model, first_byte_by=first_byte_by, idle_timeout_s=settings.idle_timeout_s)

    async def _request(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> aiohttp.ClientResponse:
        """Send on an idle connection or a new one. An idle one that its server had already closed is replaced, once."""
        for may_replace in (True, False):
            connection = _Connection()
            data = io.BytesIO(body) if len(body) > LARGE_BODY_BYTES else body or None
            try:
                return await self._open_session().request(
                    method, url, headers=headers, data=data, allow_redirects=False, trace_request_ctx=connection
                )
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not (may_replace and connection.is_reused):
                    raise
        raise AssertionError("the second round returns or raises")

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # The pool limits how many requests a server gets; a limit here would make its health checks wait in line.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                connector=connector,
                trace_configs=[tracing],
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent",),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.connect_timeout_s),
            )
        return self._session
