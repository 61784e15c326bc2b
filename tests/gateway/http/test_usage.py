"""Counts of tokens in the three dialects, wherever an upstream puts them."""

import pytest

from gateway.http.usage import Usage, ending_of, has_failed, usage_of_answer
from gateway.settings import PriceSettings


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4,"x":{}}}', Usage(3, 4)),
        (b'{"usage":{"input_tokens":3,"output_tokens":4}}', Usage(3, 4)),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', Usage(3, 0)),
        (b'{"usage":{"total_tokens":3}}', None),
        (b'{"usage":null}', None),
        (b'{"usage":"many"}', None),
        (b'{"usage":{"prompt_tokens":-3}}', Usage(0, 0)),
        (b'{"usage":{"prompt_tokens":%s,"completion_tokens":4}}' % (b"9" * 400), Usage(2**53, 4)),
        (b"{}", None),
    ],
)
def test_counts_of_a_whole_answer(body: bytes, usage: Usage | None) -> None:
    assert usage_of_answer(body) == usage


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a":', b"null", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        usage_of_answer(body)


@pytest.mark.parametrize(
    "last",
    [
        b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n',
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n',
        b'data: {"type":"message_delta","usage":{"input_tokens":3,"output_tokens":4}}\n\ndata: {"type":"x"}\n\n',
        b'data: {"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}\n\n',
    ],
)
def test_counts_in_the_last_events(last: bytes) -> None:
    ending = ending_of(b'data: {"usage":null}\n\n' + last)
    assert ending.usage == Usage(3, 4)
    assert not ending.is_error


def test_an_error_among_the_last_events_is_seen() -> None:
    assert ending_of(b'data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n').is_error
    assert not ending_of(b'data: {"error":null}\n\ndata: [DONE]\n\n').is_error


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (b'{"choices":[{"finish_reason":"stop"},{"finish_reason":"abort"}]}', True),
        (b'{"choices":[{"finish_reason":"error"}]}', True),
        (b' {"choices":null,"error":{"message":"x"}}', True),
        (b'{"choices":[{"finish_reason":"stop","message":{"content":"\\"abort\\" \\"error\\""}}],"error":null}', False),
        (b'{"choices":"error"}', False),
        (b'data: {"choices":[{"finish_reason":"abort"}]}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n', True),
        (b'data: {"error":{"message":"x"}}\n\n' + b'data: {"choices":[]}\n\n' * 9 + b"data: [DONE]\n\n", True),
        (b'data: {"choices":[{"delta":{"content":"error"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', False),
    ],
)
def test_an_answer_says_whether_it_failed(answer: bytes, failed: bool) -> None:
    assert has_failed(answer) is failed


def test_cost() -> None:
    price = PriceSettings(input_per_million_tokens=2, output_per_million_tokens=10)
    assert Usage(500_000, 100_000).cost(price) == pytest.approx(2.0)
