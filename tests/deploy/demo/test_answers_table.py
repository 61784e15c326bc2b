"""The table that the demo prints."""

import pytest

from deploy.demo.answers_table import Row, header, render

ROW = Row(
    query="Arrange 42, 7, 88 and 19 so that they climb.",
    model="smollm2-nsort",
    reason="routed",
    confidence=0.934,
    overhead_ms=12.34,
    answer="7, 19, 42, 88",
)


def cells(rendered: str) -> list[str]:
    return rendered.split()


@pytest.mark.parametrize("answer", ["7", "word " * 60, "x" * 400, '{"name": "Nadia", "age": 34}\n' * 5, ""])
def test_no_line_is_wider_than_a_terminal_of_110_columns(answer: str) -> None:
    row = Row("a query of many words " * 20, "smollm2-multi", "default", None, 1234.5, answer)
    assert max(len(line) for line in [*header().splitlines(), *render(row).splitlines()]) <= 110


def test_every_word_of_a_short_row_is_there() -> None:
    shown = cells(render(ROW))
    for part in [*cells(ROW.query), *cells(ROW.answer), "smollm2-nsort", "0.93", "12.3"]:
        assert part in shown


def test_a_long_answer_says_that_it_was_cut() -> None:
    assert "…" in render(Row(**{**ROW.__dict__, "answer": "word " * 100}))
    assert "…" not in render(ROW)


def test_a_model_that_the_router_did_not_choose_shows_why() -> None:
    assert "default" in render(Row(**{**ROW.__dict__, "reason": "default", "confidence": None}))
    assert "routed" not in render(ROW)


def test_columns_stand_under_their_titles() -> None:
    titles, first = header().splitlines()[0], render(ROW).splitlines()[0]
    assert first.index("smollm2-nsort") == titles.index("model")
    assert first.index("7, 19") == titles.index("answer")
    assert first.index("0.93") + len("0.93") == titles.index("confidence") + len("confidence")
