"""Both clients towards the models: the gateway's own, and aiohttp's as the reference for how one behaves."""

from collections.abc import Callable

from gateway.settings import UpstreamSettings
from gateway.upstream.base import Replica, Upstream, UpstreamAnswer
from gateway.upstream.client import HttpUpstream
from tests.support.aiohttp_upstream import AiohttpUpstream

SETTINGS = UpstreamSettings(connect_timeout_s=0.3, first_byte_timeout_s=0.6, idle_timeout_s=0.3)
CLIENTS: dict[str, Callable[[UpstreamSettings], Upstream]] = {"own": HttpUpstream, "aiohttp": AiohttpUpstream}


async def post(
    upstream: Upstream, port: int, body: bytes = b"{}", *, root: str = "http://127.0.0.1", **headers: str
) -> UpstreamAnswer:
    """Send to the server at `port`, and wait for the head."""
    replica = Replica("alpha", 0, f"{root}:{port}/v1", None, "alpha")
    return await upstream.send(replica, method="POST", url=f"{replica.base_url}/x", headers=headers, body=body)


async def read(answer: UpstreamAnswer) -> bytes:
    """The whole body; the exchange is let go however it ends."""
    whole = b""
    try:
        while chunk := await answer.read():
            whole += chunk
        return whole
    finally:
        answer.close()
