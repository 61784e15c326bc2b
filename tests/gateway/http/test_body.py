"""Limits of a request's body, on bare connections."""

import time

import httpx
import pytest

from tests.support.gateway_client import CHAT, chat, read_all, sent_raw
from tests.support.mock_vllm import MockVllm

CAP = 64 * 1024


def padded(size: int) -> bytes:
    """A chat request of exactly `size` bytes."""
    head, tail = b'{"model":"alpha","messages":[],"pad":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_body_of_exactly_the_cap_passes(gateway: httpx.Client) -> None:
    assert gateway.post(CHAT, content=padded(CAP)).status_code == 200


def test_one_byte_more_is_413(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """F21: with a declared length."""
    answer = gateway.post(CHAT, content=padded(CAP + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    assert mock_vllm.seen() == []


def test_a_chunked_body_over_the_cap_is_413(gateway: httpx.Client) -> None:
    """F21: without a length the cap counts what arrives."""
    body = chunked(*[b"x" * 8192] * 9)
    with sent_raw(gateway, CHAT, body, "transfer-encoding: chunked\r\n") as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_a_huge_declared_length_is_answered_without_the_body(gateway: httpx.Client) -> None:
    """F21: a lying length."""
    with sent_raw(gateway, CHAT, b"", "content-length: 999999999\r\n") as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_arrive_is_408_and_others_are_served(gateway: httpx.Client) -> None:
    """F23: a slow body is given up at its deadline."""
    began = time.monotonic()
    with sent_raw(gateway, CHAT, b'{"model"', "content-length: 100\r\n") as connection:
        assert gateway.post(CHAT, json=chat()).status_code == 200
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"body_timeout"' in received
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a_compressed_body_is_415(gateway: httpx.Client, encoding: str) -> None:
    """F35: no unpacking, no bombs."""
    answer = gateway.post(CHAT, json=chat(), headers={"content-encoding": encoding})
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_encoding"


def test_identity_is_no_encoding(gateway: httpx.Client) -> None:
    assert gateway.post(CHAT, json=chat(), headers={"content-encoding": "identity"}).status_code == 200
