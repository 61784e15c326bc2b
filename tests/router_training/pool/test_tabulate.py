from router_core.answers import AnswerSpec
from router_core.table import Query
from router_training.pool.asking import cells_of
from router_training.pool.journal import Cell, Entry
from router_training.pool.tabulate import cut_answers, matrix, missing_summary, table_rows

QUERIES = [
    Query(id="a", question="1 + 1?", task="sums", answer=AnswerSpec(kind="numeric", value=2)),
    Query(id="b", question="1 + 2?", task="sums", answer=AnswerSpec(kind="numeric", value=3)),
    Query(id="c", question="Capital of Peru?", task="facts", answer=AnswerSpec(kind="exact", value="Lima")),
]


def entries(replies, finish_reason="stop"):
    return {
        Cell(*cell): Entry(
            id=cell[0],
            model=cell[1],
            sample=cell[2],
            reply=reply,
            right=False,
            prompt_tokens=1,
            completion_tokens=1,
            seconds=0.1,
            finish_reason=finish_reason,
        )
        for cell, reply in replies.items()
    }


REPLIES = {
    ("a", "m1", 0): "2", ("a", "m1", 1): "5", ("a", "m2", 0): "2", ("a", "m2", 1): "2",
    ("b", "m1", 0): "2", ("b", "m1", 1): "2", ("b", "m2", 0): "3", ("b", "m2", 1): "4",
    ("c", "m1", 0): "lima", ("c", "m1", 1): "Lima.", ("c", "m2", 0): "Cusco", ("c", "m2", 1): "",
}  # fmt: skip


def test_cells_go_query_by_query_then_model_then_sample():
    assert cells_of(QUERIES[:2], ("m1", "m2"), 2)[:5] == [
        ("a", "m1", 0),
        ("a", "m1", 1),
        ("a", "m2", 0),
        ("a", "m2", 1),
        ("b", "m1", 0),
    ]


def test_a_score_is_the_share_of_right_samples_whatever_the_verdict_of_the_day():
    rows = table_rows(QUERIES, ("m1", "m2"), 2, entries(REPLIES))
    assert [row.scores for row in rows] == [{"m1": 0.5, "m2": 1.0}, {"m1": 0.0, "m2": 0.5}, {"m1": 1.0, "m2": 0.0}]
    assert [(row.id, row.question, row.task, row.samples) for row in rows][2] == ("c", "Capital of Peru?", "facts", 2)


def test_the_matrix_has_a_line_per_task_and_one_for_all():
    rows = table_rows(QUERIES, ("m1", "m2"), 2, entries(REPLIES))
    assert [line.split() for line in matrix(rows).splitlines()] == [
        ["task", "n", "m1", "m2"],
        ["sums", "2", "0.250", "0.750"],
        ["facts", "1", "1.000", "0.000"],
        ["all", "3", "0.500", "0.500"],
    ]


def test_answers_that_were_cut_are_counted_by_model():
    cells = cells_of(QUERIES, ("m1", "m2"), 2)
    kept = entries(REPLIES) | entries({("a", "m2", 0): "2", ("c", "m2", 1): ""}, finish_reason="length")
    assert cut_answers(cells, ("m1", "m2"), kept) == {"m2": 2}


def test_what_is_missing_is_said_by_model_with_queries_and_reason():
    missing = [Cell(f"q{k}", "m1", 0) for k in range(7)] + [Cell("q1", "m2", 0), Cell("q1", "m2", 1)]
    summary = missing_summary(missing, {missing[0]: "HTTP 500 after 3 tries"})
    assert summary.splitlines() == [
        "  m1: 7 (queries q0, q1, q2, q3, q4 and 2 more): HTTP 500 after 3 tries",
        "  m2: 2 (queries q1)",
    ]
