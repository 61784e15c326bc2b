"""Is this answer right? One specification per query, one pure check over the reply's text.

Kinds:

    exact     the reply is `value` (or one of `aliases`) once case, punctuation and spacing are put aside; with `within`
              it is enough that the words of `value` stand together somewhere in it, and no phrase of `without` does
    numeric   the LAST number of the reply is `value`, within `tolerance` (a reply may show its working first)
    json      the first JSON object (or array, if `value` is one) in the reply equals `value`: the same keys, texts
              compared without case, 34 and "34" the same
    choice    the reply names `value` and none of the other `choices`

Promises: `is_right` is pure and total: it never raises and never takes more than linear-ish time, whatever the reply
holds. Leaves out: partial credit, units, and symbolic mathematics.
"""

import json
import re
import unicodedata
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError, model_validator

from router_core.errors import AnswerSpecError

Kind = Literal["exact", "numeric", "json", "choice"]

# Longer replies are judged by their beginning and end: an answer beyond these is no answer, and checks stay fast.
_MAX_REPLY_CHARS = 20_000
_MAX_JSON_STARTS = 50
_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])[-\u2212]?\.\d+")
_MAX_NUMBER_CHARS = 60
_WORD = re.compile(r"\w+")


class AnswerSpec(BaseModel):
    """What a right answer to one query is; see the module for the kinds. Options of another kind are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    value: StrictStr | StrictInt | StrictFloat | dict[str, Any] | list[Any]
    aliases: tuple[str, ...] = Field(default=(), description="exact: other texts that are as right as value")
    within: bool = Field(default=False, description="exact: value may stand anywhere in the reply")
    without: tuple[str, ...] = Field(default=(), description="exact, within: phrases that make a reply wrong")
    tolerance: float = Field(default=1e-6, ge=0, allow_inf_nan=False, description="numeric: largest difference")
    choices: tuple[str, ...] = Field(default=(), description="choice: every label, value among them")

    @model_validator(mode="after")
    def _value_fits_kind(self) -> "AnswerSpec":
        wanted: dict[str, Any] = {"exact": str, "numeric": (int, float), "json": (dict, list), "choice": str}
        if not isinstance(self.value, wanted[self.kind]):
            raise ValueError(f"value {self.value!r} does not fit kind {self.kind!r}")
        if self.kind == "numeric" and not Decimal(str(self.value)).is_finite():
            raise ValueError("a numeric value must be finite")
        if self.kind in ("exact", "choice") and not _words(str(self.value)):
            raise ValueError(f"value {self.value!r} holds no letter or digit to compare")
        if self.kind == "choice" and (self.value not in self.choices or len(self.choices) < 2):
            raise ValueError(f"choices {list(self.choices)} must be two or more and hold value {self.value!r}")
        if len({_words(label) for label in self.choices}) < len(self.choices):
            raise ValueError(
                f"choices {list(self.choices)}: two of them read the same once case and marks are put aside"
            )
        self._refuse_foreign_options()
        return self

    def _refuse_foreign_options(self) -> None:
        home = {"aliases": "exact", "within": "exact", "without": "exact", "tolerance": "numeric", "choices": "choice"}
        for option in self.model_fields_set & home.keys():
            if self.kind != home[option]:
                raise ValueError(f"{option} belongs to kind {home[option]!r}, not {self.kind!r}")
        if self.without and not self.within:
            raise ValueError("without needs within: true")


def parse_answer_spec(value: Any) -> AnswerSpec:
    """An AnswerSpec from parsed JSON. Raises AnswerSpecError naming the field."""
    try:
        return AnswerSpec.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "answer"
        raise AnswerSpecError(f"{place}: {first['msg']}") from error


def is_right(spec: AnswerSpec, reply: str) -> bool:
    """True when `reply` answers as `spec` asks. Pure and total."""
    if len(reply) > _MAX_REPLY_CHARS:
        half = _MAX_REPLY_CHARS // 2
        reply = f"{reply[:half]}\n{reply[-half:]}"
    if spec.kind == "exact":
        return _exact(spec, reply)
    if spec.kind == "numeric":
        return _numeric(spec, reply)
    if spec.kind == "json":
        return _json(spec, reply)
    return _choice(spec, reply)


def _words(text: str) -> str:
    """Lower-case words parted by one space, with one at each end, so that `in` compares whole words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(words)} " if words else ""


def _exact(spec: AnswerSpec, reply: str) -> bool:
    said = _words(reply)
    wanted = [words for text in (str(spec.value), *spec.aliases) if (words := _words(text))]
    if not spec.within:
        return said in wanted
    unwanted = [words for text in spec.without if (words := _words(text))]
    return any(words in said for words in wanted) and not any(words in said for words in unwanted)


def _numeric(spec: AnswerSpec, reply: str) -> bool:
    numbers = _NUMBER.findall(reply)
    if not numbers or len(numbers[-1]) > _MAX_NUMBER_CHARS:
        return False
    # float() and Decimal() both read any Unicode digit, and so does \d: no text that matched can fail here.
    said = Decimal(numbers[-1].replace(",", "").replace("\u2212", "-"))
    return abs(said - Decimal(str(spec.value))) <= Decimal(str(spec.tolerance))


def _choice(spec: AnswerSpec, reply: str) -> bool:
    said = _words(reply)
    named = set()
    # Longest first, and what was named is struck out: "very positive" does not name "positive" as well.
    for label in sorted(spec.choices, key=lambda label: -len(_words(label))):
        words = _words(label)
        if words and words in said:
            named.add(label)
            said = said.replace(words, " | ")
    return named == {spec.value}


def _json(spec: AnswerSpec, reply: str) -> bool:
    decoder = json.JSONDecoder()
    opening = "{" if isinstance(spec.value, dict) else "["
    start = reply.find(opening)
    for _ in range(_MAX_JSON_STARTS):
        if start < 0:
            return False
        try:
            found, _end = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            start = reply.find(opening, start + 1)
            continue
        return _same(spec.value, found)
    return False


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        if not isinstance(found, dict) or wanted.keys() != found.keys():
            return False
        return all(_same(wanted[key], found[key]) for key in wanted)
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(wanted) != len(found):
            return False
        return all(_same(one, other) for one, other in zip(wanted, found, strict=True))
    if isinstance(wanted, bool) or wanted is None or isinstance(found, dict | list | bool) or found is None:
        return type(wanted) is type(found) and wanted == found
    return _plain(wanted) == _plain(found)


def _plain(value: str | int | float) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # repr of an int beyond Python's digit limit raises; no right answer is that long.
    if isinstance(value, int) and abs(value) >= 10**_MAX_NUMBER_CHARS:
        return "out of range"
    return " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())
