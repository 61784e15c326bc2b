"""What the server's protocol writes, and in how many pieces."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from uvicorn.server import ServerState

from gateway.http.server import server_config

Message = dict[str, Any]
HEAD: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM_HEAD: Message = {"type": "http.response.start", "status": 200, "headers": []}
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


class Pieces(asyncio.Transport):
    """A connection that keeps each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.written.append(b"".join(list_of_data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def written(request: bytes, *messages: Message, reads: bool = False) -> Pieces:
    """What is written when an app answers each request by `messages`, after reading the body if it `reads`."""
    state = ServerState()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if reads:
            await receive()
        for message in messages:
            await send(message)

    config = server_config(app, client_stall_timeout_s=60)
    config.load()
    connection: Any = config.http_protocol_class(config, state, {})  # type: ignore[call-arg]
    pieces = Pieces()
    connection.connection_made(pieces)
    connection.data_received(request)
    while state.tasks:
        await asyncio.wait(state.tasks)
    connection.connection_lost(None)
    return pieces


async def test_a_whole_answer_is_one_write() -> None:
    (piece,) = (await written(POST, HEAD, body(b"hello"))).written
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\nhello")


async def test_the_head_of_a_stream_leaves_with_its_first_event() -> None:
    first, *rest = (await written(POST, STREAM_HEAD, body(b"a", more=True), body(b"b", more=True), body(b""))).written
    assert first.endswith(b"\r\n\r\n1\r\na\r\n")
    assert rest == [b"1\r\nb\r\n", b"0\r\n\r\n"]


async def test_a_head_without_a_body_leaves_too() -> None:
    request = POST.replace(b"POST", b"HEAD")
    (piece,) = (await written(request, HEAD, body(b"hello"))).written
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\n")


async def test_a_body_that_looks_like_an_interim_response_stays_behind_its_head() -> None:
    looks = b"HTTP/1.1 100 Continue"
    head = {**HEAD, "headers": [(b"content-length", str(len(looks)).encode())]}
    (piece,) = (await written(POST, head, body(looks))).written
    assert piece.endswith(b"\r\n\r\n" + looks)


async def test_a_client_that_waits_to_be_told_to_go_on_is_told_at_once() -> None:
    request = POST.replace(b"host: x", b"host: x\r\nexpect: 100-continue")
    go_on, answer = (await written(request, HEAD, body(b"hello"), reads=True)).written
    assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(b"hello")


async def test_answers_to_pipelined_requests_come_one_after_the_other() -> None:
    pieces = await written(POST * 3, HEAD, body(b"hello"))
    assert [piece[-5:] for piece in pieces.written] == [b"hello"] * 3


async def test_an_answer_that_closes_is_written_before() -> None:
    head = {**HEAD, "headers": [*HEAD["headers"], (b"connection", b"close")]}
    pieces = await written(POST.replace(b"POST", b"HEAD"), head, body(b""))
    assert pieces.is_closed
    assert len(pieces.written) == 1


@pytest.mark.parametrize("messages", [[HEAD], []])
async def test_an_app_that_gives_up_leaves_no_connection_open(messages: list[Message]) -> None:
    pieces = await written(POST, *messages)
    assert pieces.is_closed
    assert pieces.written[0].startswith(b"HTTP/1.1 200 OK" if messages else b"HTTP/1.1 500 ")


class Unread(Pieces):
    """A connection whose client takes `reads` bytes of 10 whenever the server looks, until it takes no more."""

    def __init__(self, reads: list[int]) -> None:
        super().__init__()
        self.left = 10
        self.aborted = asyncio.Event()
        self._reads = reads

    def get_write_buffer_size(self) -> int:
        self.left -= self._reads.pop(0) if self._reads else 0
        return self.left

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return socket.socket() if name == "socket" else default

    def abort(self) -> None:
        self.aborted.set()


@pytest.mark.parametrize("end", ["shutdown", "timeout_keep_alive_handler"])
async def test_a_connection_that_is_closed_does_not_wait_for_a_client_that_reads_nothing(end: str) -> None:
    config = server_config(Any, client_stall_timeout_s=0.001)
    config.load()
    connection: Any = config.http_protocol_class(config, ServerState(), {})  # type: ignore[call-arg]
    pieces = Unread([0, 5, 3])
    connection.connection_made(pieces)
    getattr(connection, end)()
    await asyncio.wait_for(pieces.aborted.wait(), 10)
    # As long as it read something, it was waited for.
    assert pieces.left == 2
