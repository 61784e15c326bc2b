from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.query import ask_of_messages, ask_of_prompt


def test_the_ask_is_the_last_user_message() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "prefill"},
    ]
    assert ask_of_messages(messages) == "second"


def test_text_parts_are_joined_and_images_skipped() -> None:
    content = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "this?"},
    ]
    assert ask_of_messages([{"role": "user", "content": content}]) == "What is\nthis?"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 3}]}],
        ["user"],
    ],
)
def test_no_user_text_is_the_empty_string(messages: list[Any]) -> None:
    assert ask_of_messages(messages) == ""


@pytest.mark.parametrize(
    ("prompt", "ask"), [("hi", "hi"), (["a", "b"], "a"), ([], ""), ([1, 2], ""), ([[1], [2]], ""), (None, "")]
)
def test_the_ask_of_a_prompt(prompt: Any, ask: str) -> None:
    assert ask_of_prompt(prompt) == ask


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner),
)


@given(st.lists(json_values))
def test_any_json_has_an_ask(messages: list[Any]) -> None:
    assert isinstance(ask_of_messages(messages), str)
    assert isinstance(ask_of_prompt(messages), str)
