"""The relay that many gateways begin as: FastAPI, one route, a JSON body parsed once, an HTTP client library.

    UPSTREAM=http://127.0.0.1:P CLIENT=httpx|aiohttp uvicorn fastapi_app:app

It does nothing else: no keys, no limits, no metrics, no retries. Runs in the peer's own environment, so it imports
nothing of this project.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

URL = os.environ["UPSTREAM"] + "/v1/chat/completions"
JSON = {"content-type": "application/json"}
Forward = Callable[[bytes, bool], Awaitable[Response]]


@asynccontextmanager
async def httpx_forward() -> AsyncIterator[Forward]:
    """By httpx, without a limit on connections."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:  # noqa: S113 - as little work as can be

        async def forward(body: bytes, streams: bool) -> Response:
            answer = await client.send(client.build_request("POST", URL, content=body, headers=JSON), stream=streams)
            if not streams:
                return Response(answer.content, answer.status_code, media_type="application/json")

            async def chunks() -> AsyncIterator[bytes]:
                try:
                    async for chunk in answer.aiter_raw():
                        yield chunk
                finally:
                    await answer.aclose()

            return StreamingResponse(chunks(), answer.status_code, media_type="text/event-stream")

        yield forward


@asynccontextmanager
async def aiohttp_forward() -> AsyncIterator[Forward]:
    """By aiohttp, without a limit on connections."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as client:

        async def forward(body: bytes, streams: bool) -> Response:
            answer = await client.post(URL, data=body, headers=JSON)
            if not streams:
                return Response(await answer.read(), answer.status, media_type="application/json")

            async def chunks() -> AsyncIterator[bytes]:
                try:
                    async for chunk in answer.content.iter_any():
                        yield chunk
                finally:
                    answer.close()

            return StreamingResponse(chunks(), answer.status, media_type="text/event-stream")

        yield forward


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The client lives as long as the app."""
    async with {"httpx": httpx_forward, "aiohttp": aiohttp_forward}[os.environ["CLIENT"]]() as forward:
        app.state.forward = forward
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """Relay it."""
    body = await request.body()
    parsed: dict[str, Any] = json.loads(body)
    answer: Response = await request.app.state.forward(body, bool(parsed.get("stream")))
    return answer
