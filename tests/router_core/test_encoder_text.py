import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.encoder_text import CHARACTERS_PER_TOKEN, cut_text, length_groups, share_lost

SIDES: st.SearchStrategy[Literal["left", "right"]] = st.sampled_from(["left", "right"])


@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.integers(1, 4), SIDES)
def test_a_cut_is_bounded_encodable_and_leaves_short_texts_alone(
    text: str, max_tokens: int, side: Literal["left", "right"]
) -> None:
    cut, kept = cut_text(text, max_tokens=max_tokens, truncation_side=side)
    cut.encode("utf-8")
    assert len(cut) <= max_tokens * CHARACTERS_PER_TOKEN
    assert 0 < kept <= 1
    if len(text) <= max_tokens * CHARACTERS_PER_TOKEN:
        assert (cut, kept) == (re.sub("[\ud800-\udfff]", "?", text), 1.0)


def test_a_cut_keeps_the_end_that_the_tokenizer_keeps_and_says_how_much() -> None:
    text = "  " + "a" * 100 + "b" * 100 + "  "
    assert cut_text(text, max_tokens=1, truncation_side="right") == ("a" * 32, 32 / 200)
    assert cut_text(text, max_tokens=1, truncation_side="left") == ("b" * 32, 32 / 200)


def test_blanks_around_a_text_are_no_loss() -> None:
    assert cut_text(" " * 500 + "word", max_tokens=1, truncation_side="right") == ("word", 1.0)
    assert cut_text(" " * 500, max_tokens=1, truncation_side="right") == ("", 1.0)


@pytest.mark.parametrize(
    ("tokens", "read", "kept", "lost"),
    [
        (10, 10, 1.0, 0.0),
        (10, 4, 1.0, 0.6),
        (10, 4, 0.5, 0.8),
        (3, 10, 1.0, 0.0),
        (0, 10, 1.0, 0.0),
        (0, 10, 0.25, 0.75),
    ],
)
def test_what_is_lost_counts_both_cuts(tokens: int, read: int, kept: float, lost: float) -> None:
    assert share_lost(tokens, read, kept) == pytest.approx(lost)


def test_groups_of_like_length_by_hand() -> None:
    assert length_groups([30, 4, 200, 5, 8, 100], most=8) == [[1, 3, 4], [0], [5, 2]]
    assert length_groups([5, 5, 5], most=2) == [[0, 1], [2]]
    assert length_groups([10, 10, 10, 50], most=8, most_padded=20) == [[0, 1], [2], [3]]
    assert length_groups([], most=8) == []


@given(st.lists(st.integers(0, 2000), max_size=60), st.integers(1, 32), st.integers(1, 4000))
def test_groups_are_a_partition_within_their_bounds(lengths: list[int], most: int, most_padded: int) -> None:
    groups = length_groups(lengths, most=most, most_padded=most_padded)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        inside = [lengths[place] for place in group]
        assert len(group) <= most
        assert len(group) * max(inside) <= most_padded or len(group) == 1
        assert max(inside) <= 2 * max(min(inside), 1)
