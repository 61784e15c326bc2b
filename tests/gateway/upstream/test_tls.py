"""Servers behind TLS: what is verified, and that everything else stays as it is without."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import UpstreamConnectError, UpstreamIdleTimeoutError
from gateway.upstream.client import HttpUpstream
from tests.support.certificate import Certificate, make_certificate
from tests.support.raw_server import RawServer, raw_server
from tests.support.upstreams import SETTINGS, post, read

LARGE = b"x" * 3_000_000
# A handshake on a busy machine is no test of the connect deadline.
PATIENT = SETTINGS.model_copy(update={"connect_timeout_s": 20.0, "first_byte_timeout_s": 20.0})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
async def client() -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream(PATIENT)
    yield upstream
    await upstream.aclose()


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """How an operator makes a private authority known."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    return certificate


async def serve(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        body = await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_trusted_server_answers_on_one_connection(
    client: HttpUpstream, trusted: Certificate, host: str
) -> None:
    async with raw_server(serve, tls=trusted.server_context()) as server:
        for body in (b"ok", LARGE, b"ok"):
            assert await read(await post(client, server.port, body, root=f"https://{host}")) == body
        assert server.connections == 1


async def test_the_server_is_told_which_name_is_meant(client: HttpUpstream, trusted: Certificate) -> None:
    asked: list[str | None] = []
    context = trusted.server_context()
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with raw_server(serve, tls=context) as server:
        await read(await post(client, server.port, root="https://localhost"))
    assert asked == ["localhost"]


async def test_a_server_that_nobody_vouches_for(client: HttpUpstream, certificate: Certificate) -> None:
    async with raw_server(serve, tls=certificate.server_context()) as server:
        with pytest.raises(UpstreamConnectError, match="certificate of the server of model 'alpha' is not trusted"):
            await post(client, server.port, root="https://127.0.0.1")
        assert server.heads == []


async def test_a_certificate_of_another_name(
    client: HttpUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_certificate(tmp_path, "DNS:elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.certificate))
    async with raw_server(serve, tls=other.server_context()) as server:
        with pytest.raises(UpstreamConnectError, match="not trusted"):
            await post(client, server.port, root="https://localhost")
        assert server.heads == []


async def test_a_server_without_tls(client: HttpUpstream) -> None:
    async def plain(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(plain) as server:
        with pytest.raises(UpstreamConnectError, match="cannot be reached"):
            await post(client, server.port, root="https://127.0.0.1")


async def test_letting_go_ends_the_connection(client: HttpUpstream, trusted: Certificate) -> None:
    async def half(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await writer.drain()
        await reader.read(1)

    async with raw_server(half, tls=trusted.server_context()) as server:
        answer = await post(client, server.port, root="https://127.0.0.1")
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamIdleTimeoutError):
            await answer.read()
        answer.close()
        await asyncio.wait_for(server.left.wait(), 10)
