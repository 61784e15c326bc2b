from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sides import Sides
from benchmarks.text_variants import PREFIXES, strip_markers, variants_of


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("Question:Which rock forms?\nAnswer:", "Which rock forms?"),
        ("What is it?\nA. heart\n(B) lung\nC) a liver", "What is it?\nheart\nlung\na liver"),
        ("下列正确的是\nA. 甲\nB、乙\n答案\uff1a", "下列正确的是\n甲\n乙"),
        ("Fix this:\n```python\nx = 1\n```", "Fix this:\n\nx = 1"),
        ("python\nx = 1", "x = 1"),
        ("A man has 3 apples.\nHow many?", "A man has 3 apples.\nHow many?"),
        ("def f(a):\n    return a", "def f(a):\n    return a"),
    ],
)
def test_markers_go_and_the_question_stays(text: str, stripped: str) -> None:
    assert strip_markers(text) == stripped


@given(st.text())
def test_any_text_can_be_stripped(text: str) -> None:
    assert len(strip_markers(text)) <= len(text)


def test_the_variants_keep_the_credit_of_the_query(sides: Sides) -> None:
    plain, stripped, prefixed, _ = variants_of(sides, pairs=40)
    assert plain.questions == sides.test.questions
    for variant in (plain, stripped, prefixed):
        assert (variant.credit == sides.test.credit).all()
        assert variant.tasks == sides.test.tasks
    assert not any("Question:" in text or "答案" in text for text in stripped.questions)
    assert all(text.startswith(PREFIXES) for text in prefixed.questions)


def test_a_pair_joins_two_tasks_and_earns_the_mean_of_both(sides: Sides) -> None:
    pairs = variants_of(sides, pairs=40)[-1]
    credit_of = dict(zip(sides.test.questions, sides.test.credit, strict=True))
    task_of = dict(zip(sides.test.questions, sides.test.tasks, strict=True))
    firsts: Counter[str] = Counter()
    for text, credit in zip(pairs.questions, pairs.credit, strict=True):
        found = [(one, other) for one in credit_of for other in credit_of if text == f"{one}\n\n{other}"]
        assert found
        one, other = found[0]
        assert task_of[one] != task_of[other]
        assert credit == pytest.approx((credit_of[one] + credit_of[other]) / 2)
        firsts[task_of[one]] += 1
    assert set(firsts.values()) == {8}


def test_the_variants_repeat(sides: Sides) -> None:
    assert [one.questions for one in variants_of(sides, pairs=20)] == [
        one.questions for one in variants_of(sides, pairs=20)
    ]
