"""How many tokens an answer cost, as its model's server counted them, in any of the three dialects."""

from typing import Any

import msgspec

from gateway.http.sse import events_data
from gateway.settings import PriceSettings

LAST_EVENTS = 4
# What a double holds exactly; a server that claims more must not break sums and costs.
MOST_TOKENS = 2**53


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(msgspec.Struct):
    usage: _Counts | None = None


class _Answer(msgspec.Struct):
    usage: _Counts | None = None
    response: _Response | None = None
    error: Any = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Outcome(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None


# vLLM says so of what it broke off, with status 200 and the text so far.
_FAILED = frozenset({"abort", "error"})
_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class Usage(msgspec.Struct, frozen=True):
    """Tokens read and tokens written."""

    input_tokens: int
    output_tokens: int

    def cost(self, price: PriceSettings) -> float:
        """In the currency of the price."""
        paid = self.input_tokens * price.input_per_million_tokens
        return (paid + self.output_tokens * price.output_per_million_tokens) / 1e6


class Ending(msgspec.Struct, frozen=True):
    """What the last events of a stream tell."""

    usage: Usage | None
    is_error: bool


def usage_of_answer(body: bytes) -> Usage | None:
    """The counts of a whole answer, None if it has none. Raises ValueError if the body is no JSON object."""
    try:
        answer = _decode_answer(body)
    except msgspec.ValidationError:
        # An object whose `usage` is of a form that is not known here, or no object at all.
        if body.lstrip()[:1] != b"{":
            raise ValueError("not a JSON object") from None
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("not a JSON object") from None
    return _usage(answer)


def ending_of(block: bytes) -> Ending:
    """Counts in the last events of a stream, whichever carries them, and whether one of those is an error."""
    usage, is_error = None, False
    for data in list(events_data(block))[-LAST_EVENTS:]:
        try:
            answer = _decode_answer(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        usage = _usage(answer) or usage
        is_error = is_error or answer.error is not None
    return Ending(usage, is_error)


def has_failed(answer: bytes) -> bool:
    """Whether a whole answer, or a stream, of a chat or a completion says that it is not what was asked for."""
    if b'"abort"' not in answer and b'"error"' not in answer:
        return False
    documents = [answer] if answer.lstrip()[:1] == b"{" else events_data(answer)
    return any(_says_failed(document) for document in documents)


def _says_failed(document: bytes) -> bool:
    try:
        outcome = _decode_outcome(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The end marker, or nothing that this knows.
        return False
    return outcome.error is not None or any(choice.finish_reason in _FAILED for choice in outcome.choices or ())


def _usage(answer: _Answer) -> Usage | None:
    counts = answer.usage or (answer.response.usage if answer.response is not None else None)
    if counts is None:
        return None
    read = counts.prompt_tokens if counts.prompt_tokens is not None else counts.input_tokens
    written = counts.completion_tokens if counts.completion_tokens is not None else counts.output_tokens
    if read is None and written is None:
        return None
    return Usage(min(max(0, read or 0), MOST_TOKENS), min(max(0, written or 0), MOST_TOKENS))
