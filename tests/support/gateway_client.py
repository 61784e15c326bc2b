"""A real gateway in front of real mock upstreams, and the few ways in which tests talk to it."""

import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx

from gateway.app import build_app
from gateway.settings import Settings
from tests.support.mock_vllm import MockVllm
from tests.support.serving import serving
from tests.support.settings import make_settings

MODEL = "alpha"
CHAT = "/v1/chat/completions"
# A body for every endpoint that reaches a model; those of STREAMING may ask for a stream.
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hello there"}]},
    "/v1/completions": {"prompt": "hello there"},
    "/v1/embeddings": {"input": "hello there"},
    "/v1/responses": {"input": "hello there"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 8},
    "/rerank": {"query": "hello", "documents": ["there"]},
    "/v1/rerank": {"query": "hello", "documents": ["there"]},
    "/score": {"text_1": "hello", "text_2": "there"},
    "/v1/score": {"text_1": "hello", "text_2": "there"},
    "/tokenize": {"prompt": "hello there"},
    "/detokenize": {"tokens": [1, 2]},
}
STREAMING = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages")


def chat(
    model: str = MODEL, *, stream: bool = False, mock: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A chat request; `mock` are switches of tests/support/mock_vllm.Behaviour."""
    return request(CHAT, model, stream=stream, mock=mock, **more)


def request(
    path: str, model: str = MODEL, *, stream: bool = False, mock: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A request for any endpoint."""
    body = {"model": model, **BODIES[path], **more}
    if stream:
        body["stream"] = True
    return body if mock is None else {**body, "mock": mock}


def pieces(*writes: bytes) -> dict[str, Any]:
    """The switch that makes the mock's body exactly these writes."""
    return {"pieces": [base64.b64encode(write).decode() for write in writes]}


def model_section(name: str, *mocks: MockVllm, **more: Any) -> dict[str, Any]:
    """One of `models`, held by the mocks."""
    return {"name": name, "replicas": [{"base_url": mock.base_url} for mock in mocks], **more}


def settings_with(models: list[dict[str, Any]], **sections: dict[str, Any]) -> Settings:
    """Settings in which `auto` means the first model, and the last one if that is down."""
    router = {"policy": "fixed", "fixed_model": models[0]["name"], "default_model": models[-1]["name"]}
    return make_settings(**{"models": models, "router": router, **sections})  # type: ignore[arg-type]


@contextlib.contextmanager
def running_gateway(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a gateway with these settings."""
    stall_timeout_s = settings.server.client_stall_timeout_s
    with serving(build_app(settings), stall_timeout_s) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@contextlib.contextmanager
def sent_raw(client: httpx.Client, path: str, body: dict[str, Any] | bytes, head: str = "") -> Iterator[socket.socket]:
    """A bare connection on which the request has been written; closing it is leaving."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        head = head or f"content-length: {len(data)}\r\n"
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{head}\r\n".encode() + data)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")) and all(
            f'{key}="{value}"' in line for key, value in labels.items()
        ):
            total += float(line.rsplit(" ", 1)[1])
    return total
