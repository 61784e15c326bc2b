from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_training.evaluate.duplicates import duplicates_of, hashes_of, name_rows
from tests.support.small_bundle import small_bundle


def test_case_and_spacing_do_not_make_a_question_new() -> None:
    hashes = hashes_of(["What is  2 + 2?", "Name a\triver."])
    asked = ["what is 2 + 2?", "What is 2 + 3?", " name A river. ", "What is 2+2?"]
    assert duplicates_of(asked, hashes).tolist() == [0, 2]


def test_a_bundle_knows_its_training_questions(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "b", training_questions=["b", "a", "a"])
    assert bundle.question_hashes is not None
    np.testing.assert_array_equal(bundle.question_hashes, hashes_of(["a", "b"]))
    assert duplicates_of(["c", "A"], bundle.question_hashes).tolist() == [1]


@pytest.mark.parametrize(("questions", "seen"), [([], ["a"]), (["a"], []), ([], [])])
def test_nothing_is_nothing(questions: list[str], seen: list[str]) -> None:
    assert duplicates_of(questions, hashes_of(seen)).tolist() == []


@given(st.lists(st.text()), st.lists(st.text()))
def test_the_same_text_is_always_found(asked: list[str], seen: list[str]) -> None:
    found = duplicates_of(asked, hashes_of(seen)).tolist()
    assert found == sorted(found)
    assert {row for row, question in enumerate(asked) if question in seen} <= set(found)
    folded = {" ".join(question.casefold().split()).encode("utf-8", "replace") for question in seen}
    assert found == [
        row
        for row, question in enumerate(asked)
        if " ".join(question.casefold().split()).encode("utf-8", "replace") in folded
    ]


def test_long_lists_are_cut_with_a_count() -> None:
    assert name_rows(["a", "b"], shown=2) == "a, b"
    assert name_rows(["a", "b", "c", "d"], shown=2) == "a, b and 2 more"
