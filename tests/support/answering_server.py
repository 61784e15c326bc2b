"""A tiny OpenAI-compatible server in a process of its own, for tests of jobs that ask models.

It answers "What is A + B?" by rule: model "sharp" is always right, "even" when A is even, "lucky" when A plus the
request's seed is even. It counts what it was asked and how much at once, and fails on demand: `Plan` says how.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MODELS = ("sharp", "even", "lucky")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the server behaves until it is told otherwise."""

    delay_s: float = 0.0
    failures: int = 0  # the first so many tries of each (model, question, seed) are answered `status`
    status: int = 500
    retry_after: str | None = None
    body: str | None = None  # answered with 200 instead of a completion
    fails_model: str | None = None  # only this model fails
    api_key: str | None = None  # what the bearer token must be


class Seen:
    """What one plan saw; requests that outlive it do not count for the next."""

    def __init__(self) -> None:
        self.tries: Counter[tuple[str, str, int]] = Counter()
        self.under_way = self.most_under_way = 0
        self.is_over = asyncio.Event()


class AnsweringServer:
    """The state behind the routes."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.seen = Seen()

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

    async def chat(self, request: Request) -> Response:
        seen, body = self.seen, await request.json()
        cell = (body["model"], body["messages"][-1]["content"], body.get("seed", -1))
        seen.tries[cell] += 1
        seen.under_way += 1
        seen.most_under_way = max(seen.most_under_way, seen.under_way)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(seen.is_over.wait(), self.plan.delay_s)
            return self._answer(request, cell, seen.tries[cell])
        finally:
            seen.under_way -= 1

    def _answer(self, request: Request, cell: tuple[str, str, int], tries: int) -> Response:
        plan = self.plan
        if plan.api_key is not None and request.headers.get("authorization") != f"Bearer {plan.api_key}":
            return _error(401, "Incorrect API key provided.")
        if tries <= plan.failures and plan.fails_model in (None, cell[0]):
            headers = {} if plan.retry_after is None else {"retry-after": plan.retry_after}
            return _error(plan.status, "as planned", headers)
        if plan.body is not None:
            return Response(plan.body)
        message = {"role": "assistant", "content": _reply(*cell)}
        return JSONResponse(
            {
                "object": "chat.completion",
                "model": cell[0],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            }
        )

    async def show(self, request: Request) -> Response:
        cells = [[*cell, tries] for cell, tries in self.seen.tries.items()]
        return JSONResponse({"cells": cells, "most_under_way": self.seen.most_under_way})

    async def replan(self, request: Request) -> Response:
        self.plan = Plan(**await request.json())
        self.seen.is_over.set()
        self.seen = Seen()
        return Response()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/_seen", self.show),
                Route("/_plan", self.replan, methods=["POST"]),
            ]
        )


def _reply(model: str, question: str, seed: int) -> str:
    first, second = (int(number) for number in re.findall(r"\d+", question))
    is_right = {"sharp": True, "even": first % 2 == 0, "lucky": (first + seed) % 2 == 0}[model]
    return f"The answer is {first + second + (0 if is_right else 1)}"


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": "error", "code": None}}, status, headers=headers)


class AnsweringServerProcess:
    """The running server as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def plan(self, **behaviour: Any) -> None:
        """Behave so from now on, and forget what was seen."""
        httpx.post(f"{self.url}/_plan", json=dataclasses.asdict(Plan(**behaviour)), trust_env=False).raise_for_status()

    def seen(self) -> dict[str, Any]:
        """{"tries": {(model, question, seed): count}, "most_under_way": int} of this plan; no seed is -1."""
        seen = httpx.get(f"{self.url}/_seen", trust_env=False).json()
        return {**seen, "tries": {tuple(cell): tries for *cell, tries in seen["cells"]}}


@contextlib.contextmanager
def running_answering_server() -> Iterator[AnsweringServerProcess]:
    """Start the server on a free loopback port and stop it at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, __file__, "--descriptor", str(listener.fileno())]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        _wait_until_up(f"http://127.0.0.1:{port}", process)
        yield AnsweringServerProcess(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    # The port was bound before the process started, so the first request waits in its backlog.
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/v1/models", timeout=60, trust_env=False).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the answering server did not come up (exit status {process.poll()})")


def write_sums(path: Path, count: int) -> Path:
    """A query file for this server: query k is "What is k + 100?", of task "odd" or "even" by k."""
    lines = [
        {
            "id": f"q{k}",
            "question": f"What is {k} + 100?",
            "task": "odd" if k % 2 else "even",
            "answer": {"kind": "numeric", "value": k + 100},
        }
        for k in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--descriptor", type=int, required=True)
    descriptor = parser.parse_args().descriptor
    listener = socket.socket(fileno=descriptor)
    config = uvicorn.Config(AnsweringServer().app(), log_level="error", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
