import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core.errors import TableError
from router_core.table import Query, TableRow, read_queries, read_table, table_of_rows, write_table

ROW = {"id": "q1", "question": "2+2?", "task": "sums", "cluster_id": 3, "scores": {"b": 0.5, "a": 1.0}, "samples": 4}


def write_lines(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


rows_strategy = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.builds(
            TableRow,
            id=st.text(min_size=1),
            question=st.text(),
            task=st.none() | st.text(),
            cluster_id=st.none() | st.integers(-3, 99),
            scores=st.fixed_dictionaries({f"m{i}": st.floats(0, 1) for i in range(width)}),
            samples=st.integers(1, 9),
        ),
        min_size=1,
        unique_by=lambda row: row.id,
    )
)


@settings(max_examples=40, deadline=None)  # each example is fsync'd to disk
@given(rows=rows_strategy, suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_a_table_survives_writing_and_reading(
    rows: list[TableRow], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / f"table{suffix}"
    write_table(path, rows)
    table = read_table(path)
    assert table.rows == tuple(rows)
    assert table.models == tuple(rows[0].scores)
    assert table.scores.tolist() == [[row.scores[model] for model in table.models] for row in rows]


def test_columns_follow_the_first_row_whatever_order_later_rows_have(tmp_path: Path) -> None:
    second = ROW | {"id": "q2", "scores": {"a": 0.25, "b": 0.0}, "task": None, "cluster_id": None}
    table = read_table(write_lines(tmp_path / "t.jsonl", ROW, second))
    assert table.models == ("b", "a")
    np.testing.assert_array_equal(table.scores, [[0.5, 1.0], [0.0, 0.25]])
    assert (table.questions, table.tasks, table.cluster_ids) == (["2+2?", "2+2?"], ["sums", None], [3, None])


def test_a_number_beyond_pythons_digit_limit_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": ' + "1" * 5000 + "}\n")
    with pytest.raises(TableError, match=r"t\.jsonl: line 1: not valid JSON"):
        read_table(tmp_path / "t.jsonl")


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [TableRow.model_validate(ROW)]
    for name in ("one", "two"):
        write_table(tmp_path / f"{name}.jsonl.gz", rows)
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


def test_reads_the_files_that_routerdc_published(tmp_path: Path) -> None:
    items = [
        {"question": "Q\u2028x", "scores": {"m/a": 0, "m/b": 0.9}, "cluster_id": 4},
        {"question": "R", "scores": {"m/a": 1, "m/b": 0.1}, "answer": "ignored"},
    ]
    (tmp_path / "gsm8k-train.json.gz").write_bytes(gzip.compress(json.dumps(items, ensure_ascii=False).encode()))
    table = read_table(tmp_path / "gsm8k-train.json.gz")
    assert [row.id for row in table.rows] == ["gsm8k-train:0", "gsm8k-train:1"]
    assert table.questions == ["Q\u2028x", "R"]
    assert table.cluster_ids == [4, None]
    np.testing.assert_array_equal(table.scores, [[0, 0.9], [1, 0.1]])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (ROW, "line 2: id 'q1' occurs twice"),
        (ROW | {"id": "q2", "scores": {"a": 1.0}}, "line 2: every row must score the same models; not in both: b"),
        (ROW | {"id": "q2", "scores": {"a": 1.5, "b": 0}}, "line 2: scores.a: .*less than or equal to 1"),
        (ROW | {"id": "q2", "scores": {"a": float("nan"), "b": 0}}, "line 2: scores.a: "),
        (ROW | {"id": "q2", "extra": 1}, "line 2: extra: "),
        ({"id": "q2"}, "line 2: question: Field required"),
        ([1], "line 2: the whole row: "),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, second: Any, message: str) -> None:
    path = write_lines(tmp_path / "t.jsonl", ROW, second)
    with pytest.raises(TableError, match=f"t.jsonl: {message}"):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no row"),
        (b"[]", "holds no row"),
        (b"[3]", "row 0: must be an object"),
        (b'[{"question": "x"}]', "row 0: scores: Field required"),
        (b"[{", "the file: not valid JSON"),
        (b"{\n", "line 1: not valid JSON"),
        (b"\xff\xfe{}", "cannot be read"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(TableError, match=rf"t\.json: {message}"):
        read_table(tmp_path / "t.json")


def test_a_missing_or_truncated_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.jsonl: no such file"):
        read_table(tmp_path / "none.jsonl")
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode() * 100)[:-20])
    with pytest.raises(TableError, match=r"t\.jsonl\.gz: cannot be read"):
        read_table(tmp_path / "t.jsonl.gz")


def test_rows_of_other_models_do_not_mix() -> None:
    other = TableRow.model_validate(ROW | {"id": "q2", "scores": {"c": 1}})
    with pytest.raises(TableError, match="'q2'"):
        table_of_rows([TableRow.model_validate(ROW), other])


def test_reads_queries(tmp_path: Path) -> None:
    query = {"id": "1", "question": "2+2?", "task": "sums", "answer": {"kind": "numeric", "value": 4}}
    path = write_lines(tmp_path / "q.jsonl", query, query | {"id": "2", "template": "t1"})
    first, second = read_queries(path)
    assert isinstance(first, Query)
    assert (first.answer.kind, first.template, second.template) == ("numeric", None, "t1")
    with pytest.raises(TableError, match=r"q\.jsonl: line 2: id '1' occurs twice"):
        read_queries(write_lines(path, query, query))
    with pytest.raises(TableError, match=r"line 1: answer"):
        read_queries(write_lines(path, query | {"answer": {"kind": "psychic", "value": 4}}))
    with pytest.raises(TableError, match="holds no query"):
        read_queries(write_lines(path))
