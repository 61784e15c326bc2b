import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.answers import AnswerSpec, is_right, parse_answer_spec
from router_core.errors import AnswerSpecError

PERSON = {"name": "Anna", "age": 34, "city": "Lima"}


def spec(kind: str, value: Any, **options: Any) -> AnswerSpec:
    return parse_answer_spec({"kind": kind, "value": value, **options})


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Paris", True),
        ("  paris. ", True),
        ("PARIS!", True),
        ("City of Light", True),
        ("The capital is Paris.", False),
        ("Parisian", False),
        ("", False),
    ],
)
def test_exact_puts_case_and_punctuation_aside(reply: str, right: bool) -> None:
    assert is_right(spec("exact", "Paris", aliases=["city of light"]), reply) is right


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Sure: 3, 7, 12.", True),
        ("3 7 12", True),
        ("[3; 7; 12]", True),
        ("3, 12, 7", False),
        ("13, 7, 12", False),
        ("3, 7, 120", False),
    ],
)
def test_within_compares_whole_words_in_their_order(reply: str, right: bool) -> None:
    assert is_right(spec("exact", "3, 7, 12", within=True), reply) is right


def test_without_makes_a_copied_sentence_wrong() -> None:
    where = spec("exact", "Lima", within=True, without=["34"])
    assert is_right(where, "Anna works in Lima.")
    assert not is_right(where, "Anna, 34, works in Lima.")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("48", True),
        ("35 + 20 = 55, 55 - 7 = 48", True),
        ("The answer is 48.", True),
        ("$48.00", True),
        ("48, because 40 and 8", False),
        ("-48", False),
        ("148", False),
        ("v48", False),
        ("no number", False),
    ],
)
def test_numeric_takes_the_last_number(reply: str, right: bool) -> None:
    assert is_right(spec("numeric", 48), reply) is right


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        (1234, "1,234"),
        (-5, "it is -5"),
        (-5, "it is \u22125"),
        (0.5, ".5"),
        (1234567.25, "1,234,567.25"),
        (7, "10-3=7"),
    ],
)
def test_numeric_reads_numbers_as_people_write_them(value: float, reply: str) -> None:
    assert is_right(spec("numeric", value), reply)


def test_numeric_tolerance() -> None:
    assert is_right(spec("numeric", 3.14, tolerance=0.01), "3.145")
    assert not is_right(spec("numeric", 3.14, tolerance=0.001), "3.145")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        (json.dumps(PERSON), True),
        ('Here: ```json\n{"city": "lima", "age": "34", "name": "ANNA"}\n``` done', True),
        ('{broken {"name": "Anna", "age": 34.0, "city": "Lima"}', True),
        ('{"name": "Anna", "age": 35, "city": "Lima"}', False),
        ('{"name": "Anna", "age": 34}', False),
        ('{"name": "Anna", "age": 34, "city": "Lima", "job": "nurse"}', False),
        ('{"name": "Anna", "age": true, "city": "Lima"}', False),
        ("Anna, 34, Lima", False),
    ],
)
def test_json_compares_the_first_object(reply: str, right: bool) -> None:
    assert is_right(spec("json", PERSON), reply) is right


def test_json_arrays_and_nesting() -> None:
    nested = spec("json", [{"a": [1, "X"]}, None, True])
    assert is_right(nested, 'so [{"a": [1, "x"]}, null, true]')
    assert not is_right(nested, '[{"a": [1, "x"]}, null, 1]')


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Positive.", True),
        ("It is positive!", True),
        ("negative", False),
        ("positive or negative", False),
        ("?", False),
    ],
)
def test_choice_wants_one_label(reply: str, right: bool) -> None:
    assert is_right(spec("choice", "positive", choices=["positive", "negative"]), reply) is right


@pytest.mark.parametrize(
    ("value", "reply", "right"),
    [
        ("very positive", "It is very positive.", True),
        ("positive", "It is very positive.", False),
        ("positive", "positive", True),
        ("very positive", "positive, very positive", False),
    ],
)
def test_a_label_within_a_longer_one_is_not_named_by_it(value: str, reply: str, right: bool) -> None:
    assert is_right(spec("choice", value, choices=["positive", "very positive"]), reply) is right


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"kind": "regex", "value": "x"}, "kind"),
        ({"kind": "numeric", "value": "48"}, "does not fit"),
        ({"kind": "numeric", "value": True}, "value"),
        ({"kind": "numeric", "value": float("nan")}, "finite"),
        ({"kind": "exact", "value": "?!"}, "no letter or digit"),
        ({"kind": "exact", "value": "a", "choices": ["a", "b"]}, "choices belongs to"),
        ({"kind": "exact", "value": "a", "without": ["b"]}, "within"),
        ({"kind": "choice", "value": "c", "choices": ["a", "b"]}, "'c'"),
        ({"kind": "choice", "value": "a", "choices": ["a", "A."]}, "read the same"),
        ({"kind": "json", "value": "text"}, "does not fit"),
        ({"kind": "exact", "value": "a", "exactly": True}, "exactly"),
        ("exact", "dictionary"),
    ],
)
def test_a_bad_specification_is_named(raw: Any, named: str) -> None:
    with pytest.raises(AnswerSpecError, match=named):
        parse_answer_spec(raw)


SPECS = [
    spec("exact", "a b"),
    spec("exact", "a", within=True, without=["b"]),
    spec("numeric", 12),
    spec("json", {"a": 1}),
    spec("json", [1, {"b": "c"}]),
    spec("choice", "a", choices=["a", "b"]),
]
NASTY = st.sampled_from(
    ["{", "[", '{"a":', "-", ",", ".", "9" * 5000, "1e999", "٣", "²", "\ud800", '{"a": ' + "9" * 5000 + "}"]
)


@given(st.sampled_from(SPECS), st.lists(st.one_of(st.text(), NASTY), max_size=30))
def test_any_reply_gives_a_verdict(specification: AnswerSpec, pieces: list[str]) -> None:
    assert is_right(specification, "".join(pieces)) in (True, False)


@pytest.mark.parametrize("reply", ["{" * 300_000, "[" * 300_000, "1," * 200_000, "9" * 400_000, '{"q":' * 100_000])
def test_a_huge_reply_gives_a_verdict(reply: str) -> None:
    assert [is_right(specification, reply) for specification in SPECS] == [False] * len(SPECS)


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc =+", max_size=20))
def test_a_number_is_found_after_any_words(value: int, words: str) -> None:
    assert is_right(spec("numeric", value), f"{words} {value}")


@given(st.recursive(st.integers() | st.text() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_json_accepts_its_own_value(inner: Any) -> None:
    assert is_right(spec("json", {"key": inner}), f"here {json.dumps({'key': inner})}")
