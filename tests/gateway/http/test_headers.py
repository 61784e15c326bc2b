"""Which headers pass, each way."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.headers import header_map, kept_headers, request_id, upstream_headers
from gateway.ids import hex_ids
from gateway.upstream.base import Replica

REPLICA = Replica("alpha", 0, "http://127.0.0.1:1/v1", None, "alpha")
ANY_VALUE = st.text(st.characters(max_codepoint=255), max_size=200)


@given(ANY_VALUE)
def test_nothing_unsafe_is_taken_from_a_client(value: str) -> None:
    """F30: control characters, CR/LF and non-ASCII never reach an upstream header or a request id."""
    headers = {"x-request-id": value, "traceparent": value, "accept": value}
    sent = upstream_headers(headers, request_id(headers, hex_ids(32)), REPLICA)
    assert all(part.isascii() and part.isprintable() for part in sent.values())


@given(ANY_VALUE)
def test_nothing_unsafe_is_taken_from_an_upstream(value: str) -> None:
    kept = kept_headers({"retry-after": value, "set-cookie": value})
    assert all(name == "retry-after" and part.isascii() and part.isprintable() for name, part in kept)


def test_a_header_that_stands_twice_is_joined() -> None:
    raw = [(b"Authorization", b"Bearer a"), (b"authorization", b"Bearer b"), (b"x", b"1")]
    assert header_map(raw) == {"authorization": "Bearer a, Bearer b", "x": "1"}


def test_a_safe_request_id_is_kept_and_others_are_replaced_by_fresh_ones() -> None:
    assert request_id({"x-request-id": "abc-1.2:3_4"}, hex_ids(32)) == "abc-1.2:3_4"
    assert request_id({}, hex_ids(32)) != request_id({}, hex_ids(32))
