"""A stand-in for vLLM: a real process on a real port that speaks OpenAI's wire format and misbehaves on request.

Every answer says who gave it (`<model> says: <last user text>`), so that a test sees where a request went. Faults are
asked for in the request itself, under the body field `mock` (a gateway forwards fields it does not own), or for every
request with `POST /_behave`; the names are those of `Behaviour`. What the process saw stands at `GET /_seen`, and
whether a caller left before the end. Run as a script it prints its port and serves until killed; tests use `MockVllm`.
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import gzip
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEALTHY = {"status": "ok"}


@dataclasses.dataclass
class Behaviour:
    """The switches; chunk numbers count from 0 and chunk N is the first that is not sent."""

    latency_s: float = 0.0  # before the head of the answer
    chunk_delay_s: float = 0.0  # before each chunk of a stream
    chunks: int = 0  # length of a stream in words; 0: as many as the text has
    status: int = 200  # any other is answered with `error_body`
    error_body: Any = None  # None: OpenAI's nested error
    error_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    die_before_head: bool = False
    die_at_chunk: int | None = None
    stall_at_chunk: int | None = None
    truncate_at_chunk: int | None = None  # a clean end of the body without the end marker
    usage: str = "asked"  # "asked" (as stream_options says), "with_choices" (on the last content chunk), "never"
    pieces: list[str] | None = None  # base64: the exact body, in these writes
    content_type: str | None = None
    content_encoding: str | None = None  # "gzip" compresses a whole answer
    healthy: bool = True  # what GET /health says
    listed: list[str] = dataclasses.field(default_factory=list)  # what GET /v1/models says


@dataclasses.dataclass
class Seen:
    """One request as it arrived, and how it ended."""

    method: str
    path: str
    headers: list[list[str]]
    body: str
    caller_left_after_s: float | None = None
    finished: bool = False


class MockApp:
    """The ASGI application."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._everyone: dict[str, Any] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        path, method = scope["path"], scope["method"]
        if path == "/_seen":
            if method == "DELETE":
                self._seen.clear()
            await _json(send, [dataclasses.asdict(seen) for seen in self._seen])
        elif path == "/_behave":
            self._everyone = json.loads(body)
            await _json(send, self._everyone)
        elif path == "/health":
            healthy = Behaviour(**self._everyone).healthy
            await _json(send, HEALTHY, status=200 if healthy else 503)
        elif path == "/v1/models":
            listed = Behaviour(**self._everyone).listed
            await _json(send, {"object": "list", "data": [{"id": name, "object": "model"} for name in listed]})
        else:
            await self._model_request(scope, receive, send, body)

    async def _model_request(self, scope: dict[str, Any], receive: Any, send: Any, body: bytes) -> None:
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        seen = Seen(scope["method"], scope["path"], headers, body.decode("utf-8", "backslashreplace"))
        self._seen.append(seen)
        try:
            request = json.loads(body)
        except ValueError:
            await _json(send, _error("not JSON", 400), status=400)
            return
        behaviour = Behaviour(**{**self._everyone, **(request.get("mock") or {})})
        started = time.monotonic()
        answering = asyncio.ensure_future(_answer(scope["path"], request, behaviour, send))
        leaving = asyncio.ensure_future(_left(receive))
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            seen.finished = answering.exception() is None
            leaving.cancel()
        else:
            seen.caller_left_after_s = time.monotonic() - started
            answering.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionAbortedError):
            await answering


async def _answer(path: str, request: dict[str, Any], behaviour: Behaviour, send: Any) -> None:
    await asyncio.sleep(behaviour.latency_s)
    if behaviour.die_before_head:
        _die(send)
    if behaviour.status != 200:
        body = behaviour.error_body if behaviour.error_body is not None else _error("as asked", behaviour.status)
        await _json(send, body, status=behaviour.status, headers=behaviour.error_headers)
    elif behaviour.pieces is not None or (request.get("stream") and path in STREAMS):
        await _stream(path, request, behaviour, send)
    else:
        whole = json.dumps(_whole(path, request)).encode()
        encoding = {"content-encoding": "gzip"} if behaviour.content_encoding == "gzip" else {}
        whole = gzip.compress(whole) if encoding else whole
        headers = [(b"content-type", (behaviour.content_type or "application/json").encode())]
        headers += [(name.encode(), value.encode()) for name, value in encoding.items()]
        headers += [(b"content-length", str(len(whole)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, start in enumerate(range(0, len(whole), 64)):
            await _before_chunk(number, behaviour, send)
            await send({"type": "http.response.body", "body": whole[start : start + 64], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _stream(path: str, request: dict[str, Any], behaviour: Behaviour, send: Any) -> None:
    headers = [(b"content-type", (behaviour.content_type or "text/event-stream; charset=utf-8").encode())]
    if behaviour.content_encoding:
        headers.append((b"content-encoding", behaviour.content_encoding.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if behaviour.pieces is not None:
        pieces = [base64.b64decode(piece) for piece in behaviour.pieces]
    else:
        pieces = STREAMS[path](request, behaviour)
    for number, piece in enumerate(pieces):
        if number == behaviour.truncate_at_chunk:
            break
        await _before_chunk(number, behaviour, send)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _before_chunk(number: int, behaviour: Behaviour, send: Any) -> None:
    await asyncio.sleep(behaviour.chunk_delay_s)
    if number == behaviour.die_at_chunk:
        _die(send)
    if number == behaviour.stall_at_chunk:
        await asyncio.sleep(3600)


def _die(send: Any) -> None:
    """What a killed process does to the connection; uvicorn's `send` is a method of the cycle with the transport."""
    send.__self__.transport.abort()
    raise ConnectionAbortedError


def _last_text(request: dict[str, Any]) -> str:
    source = request.get("messages") or request.get("input") or request.get("prompt") or request.get("query") or ""
    if isinstance(source, list) and source and isinstance(source[-1], dict):
        source = source[-1].get("content") or ""
    if isinstance(source, list):
        source = " ".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in source)
    return str(source)


def _text(request: dict[str, Any]) -> str:
    return f"{request.get('model')} says: {_last_text(request)}"


def _usage(request: dict[str, Any]) -> dict[str, int]:
    prompt, completion = len(_last_text(request).split()), len(_text(request).split())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _input_output(request: dict[str, Any]) -> dict[str, int]:
    usage = _usage(request)
    return {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}


def _whole(path: str, request: dict[str, Any]) -> dict[str, Any]:
    model, text = request.get("model"), _text(request)
    named = {"id": "mock-1", "created": 1, "model": model}
    if path == "/v1/chat/completions":
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**named, "object": "chat.completion", "choices": [choice], "usage": _usage(request)}
    if path == "/v1/completions":
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        return {**named, "object": "text_completion", "choices": [choice], "usage": _usage(request)}
    if path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return {"object": "list", "model": model, "data": data, "usage": usage}
    if path == "/v1/responses":
        return _response(request)
    if path == "/v1/messages":
        content = [{"type": "text", "text": text}]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": _input_output(request),
        }
    if path.endswith("/rerank"):
        return {**named, "results": [{"index": 0, "relevance_score": 0.9}], "usage": {"total_tokens": 4}}
    if path.endswith("/score"):
        return {**named, "object": "list", "data": [{"index": 0, "score": 0.5}], "usage": {"prompt_tokens": 4}}
    if path == "/tokenize":
        return {"count": 3, "max_model_len": 64, "tokens": [1, 2, 3]}
    return {"prompt": "one two three"}


def _response(request: dict[str, Any]) -> dict[str, Any]:
    text = [{"type": "output_text", "text": _text(request), "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": text}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": request.get("model"),
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {**_input_output(request), "total_tokens": 7},
    }


def _words(request: dict[str, Any], behaviour: Behaviour) -> list[str]:
    words = [word + " " for word in _text(request).split()]
    return [words[i % len(words)] for i in range(behaviour.chunks)] if behaviour.chunks else words


def _event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _openai_events(request: dict[str, Any], behaviour: Behaviour) -> list[bytes]:
    """Chat and plain completions: content, a finishing chunk, usage if asked for, [DONE]."""
    is_chat = "messages" in request
    named = {"id": "mock-1", "created": 1, "model": request.get("model")}
    named["object"] = "chat.completion.chunk" if is_chat else "text_completion"

    def chunk(text: str, finish: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        choice |= {"delta": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        return {**named, "choices": [choice]}

    chunks = [chunk(word, None) for word in _words(request, behaviour)] + [chunk("", "stop")]
    asked = (request.get("stream_options") or {}).get("include_usage")
    if behaviour.usage == "with_choices":
        chunks[-1]["usage"] = _usage(request)
    elif asked and behaviour.usage == "asked":
        chunks.append({**named, "choices": [], "usage": _usage(request)})
    return [_event(one) for one in chunks] + [b"data: [DONE]\n\n"]


def _message_events(request: dict[str, Any], behaviour: Behaviour) -> list[bytes]:
    usage = _input_output(request)
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {**usage, "output_tokens": 1}}}
    events = [_event(start, "message_start")]
    for word in _words(request, behaviour):
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        events.append(_event(delta, "content_block_delta"))
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    return [*events, _event(stop, "message_delta"), _event({"type": "message_stop"}, "message_stop")]


def _response_events(request: dict[str, Any], behaviour: Behaviour) -> list[bytes]:
    events = []
    for word in _words(request, behaviour):
        delta = {"type": "response.output_text.delta", "delta": word}
        events.append(_event(delta, "response.output_text.delta"))
    done = {"type": "response.completed", "response": _response(request)}
    return [*events, _event(done, "response.completed")]


STREAMS = {
    "/v1/chat/completions": _openai_events,
    "/v1/completions": _openai_events,
    "/v1/messages": _message_events,
    "/v1/responses": _response_events,
}


def _error(message: str, status: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


async def _read(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _json(send: Any, document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    head = {"content-type": "text/html" if isinstance(document, str) else "application/json", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in head.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class MockVllm:
    """A running mock. `base_url` is what a replica is configured with; `root_url` has no version."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.root_url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.root_url}/v1"

    def seen(self) -> list[dict[str, Any]]:
        """Every request for a model since the start or the last `reset`, oldest first; bodies as text."""
        return list(self._call("GET", "/_seen"))

    def behave(self, **switches: Any) -> None:
        """Apply switches of `Behaviour` to every request from now on; none restores good behaviour."""
        self._call("POST", "/_behave", switches)

    def reset(self) -> None:
        """Forget what was seen and behave well."""
        self.behave()
        self._call("DELETE", "/_seen")

    def wait_until(self, holds: Any, timeout_s: float = 30.0) -> dict[str, Any]:
        """The newest seen request for which `holds(seen)`; AssertionError if none comes in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            matching = [seen for seen in self.seen() if holds(seen)]
            if matching:
                return matching[-1]
            if time.monotonic() > deadline:
                raise AssertionError(f"the mock never saw it; it saw {self.seen()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, as an engine dies that runs out of memory."""
        self.process.kill()
        self.process.wait(timeout=10)

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.root_url + path, data=data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


@contextlib.contextmanager
def running_mock_vllm(port: int = 0) -> Iterator[MockVllm]:
    """A mock in its own process, killed at the end."""
    command = [sys.executable, str(Path(__file__).resolve()), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip().isdigit(), "the mock upstream did not start; its error is above"
        yield MockVllm(process, int(line))
    finally:
        process.kill()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until killed."""
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with socket.create_server(("127.0.0.1", parser.parse_args().port)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(MockApp(), log_level="critical", access_log=False, lifespan="off")  # type: ignore[arg-type]
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
