"""One HTTP client in a process of its own, asked as a relay asks: what a request costs it, what a chunk of a stream.

    python -m benchmarks.upstream_client_visit NAME PORT --seconds S        (prints one JSON object)

Runs in the environment of benchmarks/upstream_clients.py, on uvloop. Each client is set up as its documentation
advises for many requests to one server: connections kept and not limited, no decompression, no cookies, no redirects.
CPU time is that of the whole process with its threads. A stream's chunks are counted as the server sends them, so that
a client which puts several together gains nothing by it.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvloop

Ask = Callable[[bytes], Awaitable[int]]
"""A body -> bytes of the answer, once it is complete. Raises RuntimeError unless its status is 200."""
CONCURRENCIES = (1, 16, 64)
STREAMS = 64
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "content-type": "application/json",
    "x-request-id": "0123456789abcdef0123456789abcdef",
}
BODY = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "x" * 300}]}).encode()
STREAM_BODY = json.dumps(
    {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "x" * 300}]}
).encode()


@contextlib.asynccontextmanager
async def ours(url: str) -> AsyncIterator[Ask]:
    """The gateway's own client."""
    from gateway.settings import UpstreamSettings
    from gateway.upstream.base import Replica
    from gateway.upstream.client import HttpUpstream

    upstream, replica = HttpUpstream(UpstreamSettings()), Replica("mock", 0, url, None, "mock")

    async def ask(body: bytes) -> int:
        answer = await upstream.send(replica, method="POST", url=url, headers=HEADERS, body=body)
        try:
            check(answer.status)
            size = 0
            while chunk := await answer.read():
                size += len(chunk)
            return size
        finally:
            answer.close()

    yield ask
    await upstream.aclose()


@contextlib.asynccontextmanager
async def aiohttp(url: str) -> AsyncIterator[Ask]:
    """A ClientSession."""
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=5),
    ) as session:

        async def ask(body: bytes) -> int:
            async with session.post(url, data=body, headers=HEADERS, allow_redirects=False) as answer:
                check(answer.status)
                size = 0
                while chunk := await answer.content.readany():
                    size += len(chunk)
                return size

        yield ask


@contextlib.asynccontextmanager
async def httpx(url: str) -> AsyncIterator[Ask]:
    """An AsyncClient."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def ask(body: bytes) -> int:
            async with client.stream("POST", url, content=body, headers=HEADERS) as answer:
                check(answer.status_code)
                return sum([len(chunk) async for chunk in answer.aiter_raw()])

        yield ask


@contextlib.asynccontextmanager
async def httpcore(url: str) -> AsyncIterator[Ask]:
    """The pool beneath httpx."""
    import httpcore

    headers = list(HEADERS.items())
    async with httpcore.AsyncConnectionPool(max_connections=None, max_keepalive_connections=None) as pool:

        async def ask(body: bytes) -> int:
            async with pool.stream("POST", url, headers=headers, content=body) as answer:
                check(answer.status)
                return sum([len(chunk) async for chunk in answer.aiter_stream()])

        yield ask


@contextlib.asynccontextmanager
async def niquests(url: str) -> AsyncIterator[Ask]:
    """An AsyncSession."""
    import niquests

    async with niquests.AsyncSession(pool_maxsize=1000, disable_http2=True, disable_http3=True) as session:
        session.trust_env = False

        async def ask(body: bytes) -> int:
            answer = await session.post(url, data=body, headers=HEADERS, stream=True, allow_redirects=False)
            check(answer.status_code)
            return sum([len(chunk) async for chunk in await answer.iter_raw(-1)])

        yield ask


@contextlib.asynccontextmanager
async def pyreqwest(url: str) -> AsyncIterator[Ask]:
    """The Rust library reqwest; nothing is read ahead, so that chunks come when they come."""
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().http1_only().no_proxy().build() as client:

        async def ask(body: bytes) -> int:
            request = client.post(url).body_bytes(body).headers(HEADERS).streamed_read_buffer_limit(0)
            async with request.build_streamed() as answer:
                check(answer.status)
                size = 0
                while (chunk := await answer.body_reader.read_chunk()) is not None:
                    size += len(chunk)
                return size

        yield ask


class _Curl:
    """libcurl's multi interface, driven by the event loop."""

    def __init__(self, url: str) -> None:
        import pycurl

        self.pycurl, self.url = pycurl, url
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: dict[Any, asyncio.Future[None]] = {}
        self.spare: list[Any] = []
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_MAXCONNECTS, 1000)
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.remind)

    async def ask(self, body: bytes) -> int:
        curl, size = self.pycurl, 0

        def arrived(data: bytes) -> None:
            nonlocal size
            size += len(data)

        handle = self.spare.pop() if self.spare else self.new_handle()
        handle.setopt(curl.POSTFIELDS, body)
        handle.setopt(curl.WRITEFUNCTION, arrived)
        self.waiting[handle] = done = self.loop.create_future()
        self.multi.add_handle(handle)
        try:
            await done
            check(handle.getinfo(curl.RESPONSE_CODE))
        finally:
            self.multi.remove_handle(handle)
            self.spare.append(handle)
        return size

    def new_handle(self) -> Any:
        curl, handle = self.pycurl, self.pycurl.Curl()
        handle.setopt(curl.URL, self.url)
        handle.setopt(curl.POST, 1)
        handle.setopt(curl.HTTP_VERSION, curl.CURL_HTTP_VERSION_1_1)
        handle.setopt(curl.NOSIGNAL, 1)
        handle.setopt(curl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()] + ["Expect:"])
        return handle

    def watch(self, event: int, descriptor: int, _: object, __: object) -> None:
        curl, loop = self.pycurl, self.loop
        loop.remove_reader(descriptor)
        loop.remove_writer(descriptor)
        if event in {curl.POLL_IN, curl.POLL_INOUT}:
            loop.add_reader(descriptor, self.act, descriptor, curl.CSELECT_IN)
        if event in {curl.POLL_OUT, curl.POLL_INOUT}:
            loop.add_writer(descriptor, self.act, descriptor, curl.CSELECT_OUT)

    def remind(self, after_ms: int) -> None:
        if self.timer is not None:
            self.timer.cancel()
        expired = (self.pycurl.SOCKET_TIMEOUT, 0)
        self.timer = None if after_ms < 0 else self.loop.call_later(after_ms / 1000, self.act, *expired)

    def act(self, descriptor: int, event: int) -> None:
        self.multi.socket_action(descriptor, event)
        left = 1
        while left:
            left, good, bad = self.multi.info_read()
            for handle in good:
                self.waiting.pop(handle).set_result(None)
            for handle, _, message in bad:
                self.waiting.pop(handle).set_exception(RuntimeError(message))


@contextlib.asynccontextmanager
async def pycurl(url: str) -> AsyncIterator[Ask]:
    """libcurl."""
    curl = _Curl(url)
    yield curl.ask
    curl.remind(-1)
    for handle in curl.spare:
        handle.close()
    curl.multi.close()


CLIENTS: dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[Ask]]] = {
    client.__name__: client for client in (ours, aiohttp, pyreqwest, pycurl, niquests, httpcore, httpx)
}


def check(status: int) -> None:
    """Raise RuntimeError unless the request was served."""
    if status != 200:
        raise RuntimeError(f"the mock upstream answered with status {status}")


async def visit(name: str, port: int, seconds: float, chunks: int) -> dict[str, float]:
    """Microseconds of CPU time: by request at each concurrency, and by chunk of a stream of so many chunks."""
    found = {}
    async with CLIENTS[name](f"http://127.0.0.1:{port}/v1/chat/completions") as ask:
        for concurrency in CONCURRENCIES:
            found[f"c{concurrency}"] = await cost(ask, BODY, concurrency, seconds)
        found["chunk"] = await cost(ask, STREAM_BODY, STREAMS, seconds) / chunks
    return found


async def cost(ask: Ask, body: bytes, concurrency: int, seconds: float) -> float:
    """Microseconds of CPU time by request, over those that began within so many seconds."""
    await asyncio.gather(*(ask(body) for _ in range(concurrency)))
    until, answered, began = time.perf_counter() + seconds, 0, cpu_s()

    async def one_after_another() -> None:
        nonlocal answered
        while time.perf_counter() < until:
            await ask(body)
            answered += 1

    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    return (cpu_s() - began) / answered * 1e6


def cpu_s() -> float:
    """CPU time of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure one client."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("name", choices=CLIENTS)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--chunks", type=int, required=True)
    args = parser.parse_args()
    json.dump(uvloop.run(visit(args.name, args.port, args.seconds, args.chunks)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
