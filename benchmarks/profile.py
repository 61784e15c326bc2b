"""What each stage of a request costs the gateway, in microseconds of CPU time, so that a feature shows its price.

    python -m benchmarks.profile [--only TEXT]... [--rounds N]

Stages are the gateway's own functions on a request with a key, limits in memory state, metrics and an access log that
goes to nowhere. The rows `request, ...` are wholes: bytes into the server's protocol, the app, a model that answers at
once, bytes out. A sum of stages stands beside each; what the whole costs beyond it is the server, the event loop, and
what stands between the stages. A figure is the least of several rounds on this thread, the one that a busy neighbour
disturbed least. Takes about half a minute.

Leaves out sockets and the HTTP client towards the models (benchmarks/canned.py stands in for both).
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from benchmarks import canned
from benchmarks.sample_bundle import sample_bundle
from gateway.access.base import ANONYMOUS
from gateway.access.guard import Guard
from gateway.access.keyring import Keyring
from gateway.access.keys import new_key
from gateway.app import build_app
from gateway.control.document import ControlDocument
from gateway.control.live import Serving
from gateway.control.store import FileControlStore, build_control_store
from gateway.http.body import read_body
from gateway.http.decision_log import DecisionLog
from gateway.http.endpoints import ENDPOINTS
from gateway.http.headers import header_map, request_id
from gateway.http.peek import peek, routing_request
from gateway.http.record import Record
from gateway.http.relay import read_answer, relay_stream
from gateway.http.report import Report
from gateway.http.responder import Responder
from gateway.http.server import server_config
from gateway.http.usage import Usage
from gateway.http.walk import Walk
from gateway.http.watch import Watch
from gateway.ids import hex_ids
from gateway.observability.decision_sink import DecisionSink
from gateway.observability.logs import configure
from gateway.observability.metrics import Metrics
from gateway.routing.router import build_router
from gateway.settings import Settings
from gateway.state.memory import MemoryState
from gateway.upstream.health import Servers

MODELS = tuple(f"model-{letter}" for letter in "abcdefg")
AT_ONCE = 64
"""Requests in flight in the rows of wholes."""
ROUND_S = 0.02
_PLAIN = (
    *("headers", "admission: key and limit", "body", "watch", "peek", "routing request, pinned", "decision, pinned"),
    *("send: replica, headers, body", "relay: whole answer", "answer: head and body", "record: metrics and log line"),
)
_REPLACED = {"routing request, pinned": "routing request, auto", "decision, pinned": "decision, auto, kept"}
PARTS: dict[str, tuple[str, ...]] = {
    "request, pinned": _PLAIN,
    "request, auto, decision kept": tuple(_REPLACED.get(stage, stage) for stage in _PLAIN),
    "request, auto, decided anew": tuple(
        {**_REPLACED, "decision, pinned": "decision, auto, anew"}.get(stage, stage) for stage in _PLAIN
    ),
}
"""The stages that a whole is made of."""


@dataclass(frozen=True)
class Stage:
    """Something to time; a call of `run` does it `times` times over."""

    name: str
    run: Callable[[], Awaitable[object]]
    times: int = 1


@dataclass(frozen=True)
class Row:
    """A stage and its figure."""

    name: str
    microseconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, and print the table."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        configure("info", nowhere)
        rows = uvloop.run(measure(Path(folder), options.only, options.rounds))
    if not rows:
        print(f"no stage has one of these in its name: {', '.join(options.only)}", file=sys.stderr)
        return 2
    print(render(rows))
    return 0


async def measure(folder: Path, only: Sequence[str] = (), rounds: int = 9) -> list[Row]:
    """A row for every stage that has one of `only` in its name, or for all. `folder` takes keys and a bundle."""
    settings, key = await _settings(folder)
    async with AsyncExitStack() as parts:
        stages = [*await _stages(settings, key, folder / "decisions", parts), *await _wholes(settings, key, parts)]
        chosen = [stage for stage in stages if not only or any(text in stage.name for text in only)]
        return [Row(stage.name, await _least_microseconds(stage, rounds)) for stage in chosen]


def render(rows: Sequence[Row]) -> str:
    """The table as text, with the sum of its stages beside each whole."""
    figures = {row.name: row.microseconds for row in rows}
    width = max(len(row.name) for row in rows)
    lines = [f"{'stage':{width}}  microseconds"]
    for row in rows:
        line = f"{row.name:{width}}  {row.microseconds:12.1f}"
        parts = PARTS.get(row.name, ())
        if parts and figures.keys() >= set(parts):
            line += f"   stages {sum(figures[part] for part in parts):.1f}"
        lines.append(line)
    return "\n".join(lines)


async def _least_microseconds(stage: Stage, rounds: int) -> float:
    """Of one time of a stage, after a warm-up."""
    calls, spent = 1, await _seconds(stage, 1)
    while spent < ROUND_S:
        calls, spent = calls * 2, await _seconds(stage, calls * 2)
    return min([await _seconds(stage, calls) for _ in range(rounds)]) / calls / stage.times * 1e6


async def _seconds(stage: Stage, calls: int) -> float:
    run, began = stage.run, time.thread_time()
    for _ in range(calls):
        await run()
    # What a stage left to the loop to do belongs to it.
    await asyncio.sleep(0)
    return time.thread_time() - began


async def _settings(folder: Path) -> tuple[Settings, str]:
    """Settings with keys, limits, prices and a bundle, and a key that they admit."""
    bundle = sample_bundle(folder / "bundle", MODELS)
    key = new_key("profile", requests_per_minute=10**9)
    await FileControlStore(folder / "control.json").save(ControlDocument(version=1, keys=(key.record,)))
    replicas = [{"base_url": "http://127.0.0.1:1/v1"}]
    price = {"input_per_million_tokens": 0.1, "output_per_million_tokens": 0.2}
    document = {
        "version": 1,
        "models": [{"name": name, "router_name": name, "replicas": replicas, "price": price} for name in MODELS],
        "router": {"policy": "learned", "bundle": bundle.path, "default_model": MODELS[-1]},
        "access": {"require_keys": True},
        "control": {"file": folder / "control.json"},
    }
    return Settings.model_validate(document), key.text


async def _stages(settings: Settings, key: str, folder: Path, parts: AsyncExitStack) -> list[Stage]:
    """Every stage on its own; the decision log goes to `folder`, and `parts` close what was started."""
    endpoint, state, metrics = ENDPOINTS[canned.PATH], MemoryState(), Metrics(MODELS)
    keyring = Keyring()
    keyring.replace((await build_control_store(settings, state).load()).keys)
    guard = Guard(keyring, state, settings)
    servers = Servers(settings.upstream, canned.Upstream(), metrics)
    pool = servers.pool(settings.models)
    servers.use(pool)
    router = build_router(settings, pool, state)
    forgetful = build_router(_forgetting(settings), pool, state)
    for part in (router, forgetful):
        await part.start()
    await servers.check()
    content = canned.body(MODELS[0])
    raw = canned.headers(key, content)
    named = header_map(raw)
    seen = peek(content)
    pinned, auto = (
        routing_request(seen, endpoint, ANONYMOUS, named, is_routed=is_routed) for is_routed in (False, True)
    )
    fresh_ids = hex_ids(32)
    record = Record(canned.PATH, request_id(named, fresh_ids))
    price = settings.models[0].price
    record.serving = Serving(0, settings, pool, router, {MODELS[0]: price})
    record.request, record.seen = auto, seen
    decision = record.decision = await router.decide(auto)
    record.answering, record.attempts, record.status = decision.choice, 1, 200
    record.body_read = record.sent_upstream = record.began
    record.parsed = record.answered = record.ended = record.began
    record.usage = Usage(60, 50)
    walk = Walk(canned.Upstream(), 1.0)
    sink = DecisionSink(folder, max_file_bytes=10**6, max_files=2, metrics=metrics)
    parts.push_async_callback(sink.aclose)
    sink.start()
    decisions = DecisionLog(sink, settings.decisions)
    quiet, loud = (Report(metrics, logs_access=logs) for logs in (False, True))

    async def admit() -> None:
        await guard.admit(named)

    async def body() -> None:
        await read_body(_ready(content), named, max_bytes=len(content), timeout_s=30)

    async def watch() -> None:
        with Watch(_never) as watch:
            watch.over()

    async def send() -> None:
        with await walk.open(pool, decision, seen, endpoint, named, record):
            pass

    async def whole() -> None:
        await read_answer(canned.whole_answer(), 10**6)

    async def answer() -> None:
        await Responder(_swallow, 60).whole(200, record.headers(price), b"{}")

    async def stream() -> None:
        responder = Responder(_swallow, 60)

        async def begin() -> None:
            await responder.begin(200, ())

        await relay_stream(canned.streamed_answer(), responder, begin, ends="done", max_event_bytes=10**6)

    return [
        Stage("headers", _plain(lambda: request_id(header_map(raw), fresh_ids))),
        Stage("admission: key and limit", admit),
        Stage("body", body),
        Stage("watch", watch),
        Stage("peek", _plain(lambda: peek(content))),
        Stage(
            "routing request, pinned",
            _plain(lambda: routing_request(seen, endpoint, ANONYMOUS, named, is_routed=False)),
        ),
        Stage(
            "routing request, auto",
            _plain(lambda: routing_request(seen, endpoint, ANONYMOUS, named, is_routed=True)),
        ),
        Stage("decision, pinned", lambda: router.pin(MODELS[0], pinned)),
        Stage("decision, auto, kept", lambda: router.decide(auto)),
        Stage("decision, auto, anew", lambda: forgetful.decide(auto)),
        Stage("send: replica, headers, body", send),
        Stage("relay: whole answer", whole),
        Stage("relay: an event of a stream", stream, times=canned.CHUNKS),
        Stage("answer: head and body", answer),
        Stage("record: metrics", _plain(lambda: quiet.finished(record))),
        Stage("record: metrics and log line", _plain(lambda: loud.finished(record))),
        Stage("record: decision log", _plain(lambda: decisions.finished(record))),
    ]


async def _wholes(settings: Settings, key: str, parts: AsyncExitStack) -> list[Stage]:
    """Whole requests, AT_ONCE of them in flight; `parts` close what was started."""
    app, forgetful = (build_app(of, upstream=canned.Upstream()) for of in (settings, _forgetting(settings)))
    for gateway in (app, forgetful):
        parts.push_async_callback(gateway.aclose)
        await gateway.start()
    pinned, auto = (canned.request(key, canned.body(model)) for model in (MODELS[0], "auto"))
    streamed = canned.request(key, canned.body(MODELS[0], is_stream=True))
    return [
        Stage("server alone", _at_once(_answering, pinned), AT_ONCE),
        Stage("request, pinned", _at_once(app, pinned), AT_ONCE),
        Stage("request, auto, decision kept", _at_once(app, auto), AT_ONCE),
        Stage("request, auto, decided anew", _at_once(forgetful, auto), AT_ONCE),
        Stage(f"request, streamed in {canned.CHUNKS} events", _at_once(app, streamed), AT_ONCE),
    ]


def _forgetting(settings: Settings) -> Settings:
    """The same without a decision cache."""
    router = settings.router.model_copy(update={"decision_cache_entries": 0})
    return settings.model_copy(update={"router": router})


def _at_once(app: ASGIApp, request: bytes) -> Callable[[], Awaitable[None]]:
    """Sends the request on AT_ONCE connections and waits for all the answers."""
    running, all_done = 0, asyncio.Event()

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running
        await app(scope, receive, send)
        running -= 1
        if running == 0:
            all_done.set()

    config = server_config(counted, client_stall_timeout_s=60)
    config.load()
    protocol: Any = config.http_protocol_class
    connections = [protocol(config, ServerState(), {}) for _ in range(AT_ONCE)]
    for connection in connections:
        connection.connection_made(canned.Transport())

    async def run() -> None:
        nonlocal running
        running = AT_ONCE
        all_done.clear()
        for connection in connections:
            connection.data_received(request)
        await all_done.wait()

    return run


async def _answering(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that does nothing but answer."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def _plain(call: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        return call()

    return run


def _ready(content: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


async def _never() -> Message:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def _swallow(_: Message) -> None:
    return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--only", action="append", default=[], help="only stages with this in their name; repeatable")
    parser.add_argument("--rounds", type=int, default=9, help="timings of each stage, of which the least is shown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
