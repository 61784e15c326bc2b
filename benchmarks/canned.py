"""Both ends of a gateway that is profiled: a client's bytes, a connection to nowhere, models that answer at once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.upstream.base import Replica

PATH = "/v1/chat/completions"
CHUNKS = 64
_ASK = (
    "A train leaves Rome at 9:40 and arrives in Milan at 13:05, with two stops of six minutes each along the way. How "
    "long does it actually move, and what is its average speed if the line is 570 km long?"
)
_ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "model-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 200}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 50, "total_tokens": 110},
    }
)
_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
)
_LAST_EVENTS = (
    b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":60,"completion_tokens":64}}\n\ndata: [DONE]\n\n'
)


def body(model: str, *, is_stream: bool = False) -> bytes:
    """A chat request of some 400 bytes."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant who answers briefly and correctly."},
        {"role": "user", "content": _ASK},
    ]
    fields: dict[str, object] = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": CHUNKS}
    return msgspec.json.encode(fields | ({"stream": True} if is_stream else {}))


def headers(key: str, content: bytes) -> list[tuple[bytes, bytes]]:
    """What an official client sends, more or less."""
    return [
        (b"host", b"127.0.0.1:8000"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"OpenAI/Python 2.8.0"),
        (b"authorization", b"Bearer " + key.encode()),
        (b"content-length", str(len(content)).encode()),
    ]


def request(key: str, content: bytes) -> bytes:
    """The bytes of a whole request."""
    lines = [f"POST {PATH} HTTP/1.1".encode(), *(name + b": " + value for name, value in headers(key, content))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


class Answer:
    """A model's answer that is all here."""

    def __init__(self, chunks: Sequence[bytes], media_type: str) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"content-type": media_type}
        self._chunks = iter(chunks)

    async def read(self) -> bytes:
        """The next chunk."""
        return next(self._chunks, b"")

    def close(self) -> None:
        """Nothing to let go."""


def whole_answer() -> Answer:
    """A JSON answer in one chunk."""
    return Answer([_ANSWER], "application/json")


def streamed_answer() -> Answer:
    """CHUNKS events, a chunk each, then the counts of tokens and the end."""
    return Answer([*[_EVENT] * CHUNKS, _LAST_EVENTS], "text/event-stream")


class Upstream:
    """Answers every request at once."""

    async def send(self, replica: Replica, *, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer that the request asks for."""
        return streamed_answer() if b'"stream":true' in body else whole_answer()

    async def aclose(self) -> None:
        """Nothing to close."""


class Transport(asyncio.Transport):
    """A connection to nowhere; `written` holds what it was last given."""

    written: Any = b""

    def write(self, data: Any) -> None:
        """Keep it until the next."""
        self.written = data

    def is_closing(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Stays open."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""
