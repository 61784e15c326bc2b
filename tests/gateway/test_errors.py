"""What a client is told of each error."""

import json

import pytest

from gateway import errors
from gateway.errors import GatewayError, RateLimitedError, RequestError


def tree(root: type[GatewayError]) -> list[type[GatewayError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in tree(branch))]


@pytest.mark.parametrize("kind", tree(GatewayError))
def test_every_error_is_openais_nested_object(kind: type[GatewayError]) -> None:
    error = kind("do this", param="model")
    told = json.loads(error.body())
    assert told == {"error": {"message": "do this", "type": kind.type, "param": "model", "code": kind.code}}
    assert 400 <= kind.status < 600
    event = error.sse_event()
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert b"\n" not in event[:-2]
    assert json.loads(event[6:]) == told


@pytest.mark.parametrize("kind", tree(GatewayError))
def test_the_tree_drawn_in_the_module_is_the_tree(kind: type[GatewayError]) -> None:
    """The drawing is what people read."""
    drawing = errors.__doc__ or ""
    line = next(line for line in drawing.splitlines() if f" {kind.__name__} " in line + " ")
    if kind is not errors.ConfigError:
        assert f" {kind.status} " in line
        assert line.endswith(f" {kind.code}")


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in tree(GatewayError) if kind is not errors.ConfigError]
    assert len(set(codes)) == len(codes)


def test_a_message_with_line_breaks_stays_one_event() -> None:
    event = RequestError("a\n\nb\r\nc").sse_event()
    assert event.count(b"\n") == 2


@pytest.mark.parametrize(
    ("seconds", "whole", "milliseconds"), [(0.2, "1", "200"), (1.5, "2", "1500"), (60, "60", "60000")]
)
def test_when_to_come_back(seconds: float, whole: str, milliseconds: str) -> None:
    error = RateLimitedError("wait", retry_after_s=seconds, extra_headers=[("x-ratelimit-limit-requests", "5")])
    assert dict(error.headers()) == {
        "retry-after": whole,
        "retry-after-ms": milliseconds,
        "x-ratelimit-limit-requests": "5",
    }
    assert RateLimitedError("wait").headers() == []
