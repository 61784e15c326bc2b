"""What an answer is kept under. F44: another tenant, or another request, never has the same name."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.cache.key import IGNORED, answer_key
from gateway.http.peek import peek

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "stream": False}

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    leaves | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
# `stream` is left out because it may not be just anything.
names = texts.filter(lambda name: name not in IGNORED | {"model", "stream"})
bodies = st.dictionaries(names, values, max_size=5)


def key(body: dict[str, Any] | str, **where: Any) -> str | None:
    text = body if isinstance(body, str) else json.dumps({"model": "auto", **body})
    place = {"key_id": "k1", "path": "/v1/chat/completions", "model": "alpha", "served_name": "alpha", **where}
    return answer_key(**place, fields=peek(text.encode()).fields)


def shuffled(value: Any, draw: Any) -> Any:
    """The same value with the fields of every object in another order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name], draw) for name in draw(st.permutations(list(value)))}
    return [shuffled(inner, draw) for inner in value] if isinstance(value, list) else value


@given(bodies, st.data())
def test_order_and_spacing_do_not_matter(body: dict[str, Any], data: st.DataObject) -> None:
    other = json.dumps(shuffled({"model": "auto", **body}, data.draw), indent=3, ensure_ascii=data.draw(st.booleans()))
    assert key(body) == key(other) is not None


@given(bodies, names, values)
def test_another_value_of_a_field_is_another_name(body: dict[str, Any], name: str, value: Any) -> None:
    changed = {**body, name: value}
    assume(json.dumps(changed, sort_keys=True) != json.dumps(body, sort_keys=True))
    assert key(changed) != key(body)


@given(bodies, bodies)
def test_two_names_are_the_same_only_for_the_same_request(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (key(one) == key(two)) == same


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_who_asks_does_not_matter(name: str) -> None:
    assert key({**BODY, name: "someone"}) == key(BODY)


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 1},
        {"temperature": 0.5000000000000001},
        {"seed": None},
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"max_tokens": 5},
        {"n": 2},
        {"logit_bias": {"1": 1}},
        {"cache_salt": "s"},
        {"messages": [{"role": "user", "content": "hello "}]},
        {"messages": [{"role": "user", "content": "hello", "user": "x"}]},
        {"messages": [{"role": "system", "content": "hello"}]},
    ],
)
def test_what_may_change_the_answer_is_another_name(changed: dict[str, Any]) -> None:
    assert key({**BODY, **changed}) != key(BODY)


@pytest.mark.parametrize(
    "where",
    [
        {"key_id": "k2"},
        {"key_id": None},
        {"path": "/v1/completions"},
        {"model": "beta"},
        {"served_name": "alpha-2"},
        {"key_id": "k1alpha", "model": ""},
    ],
)
def test_another_tenant_endpoint_or_model_is_another_name(where: dict[str, Any]) -> None:
    assert key(BODY, **where) != key(BODY)


def test_how_the_model_was_named_does_not_matter_once_it_is_chosen() -> None:
    assert key({**BODY, "model": "auto"}) == key({**BODY, "model": "alpha"})


def test_a_long_value_counts_by_its_bytes_and_is_not_built() -> None:
    rubble = "[" + ",".join(["[[]]"] * 200_000) + "]"
    bodies = [
        f'{{"model": "auto", "seed": {i}, "messages": {value}}}' for i in (1, 2) for value in (rubble, rubble + " ")
    ]
    tracemalloc.start()
    try:
        keys = [key(body) for body in bodies]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert None not in keys
    assert len(set(keys)) == 2
    assert peak < 5 * len(rubble)
    assert key(bodies[0].replace("[[]]", "[{}]")) not in keys


def test_integers_of_any_size_are_told_apart() -> None:
    found = {key({"seed": 2**64 + i}) for i in range(3)}
    assert len(found) == 3


@pytest.mark.parametrize("value", ["1e400", "1" * 5000])
def test_what_cannot_be_compared_has_no_name(value: str) -> None:
    assert key('{"model": "auto", "temperature": ' + value + "}") is None
