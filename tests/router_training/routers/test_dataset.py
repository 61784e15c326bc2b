import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_training.errors import DataError
from router_training.routers.dataset import DataFile, read_router_data, resample_per_task, split_rows


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def item(question: str, **scores: float) -> dict[str, Any]:
    return {"question": question, "scores": scores}


@pytest.mark.parametrize(
    ("text", "path", "metric"),
    [
        ("a.json", "a.json", None),
        ("a.json:probability", "a.json", "probability"),
        ("s3:x/a.json:multi_attempt", "s3:x/a.json", "multi_attempt"),
        ("odd:name.json", "odd:name.json", None),
    ],
)
def test_a_data_file_is_split_from_its_metric_at_the_last_colon(text: str, path: str, metric: str | None) -> None:
    assert DataFile.parse(text) == DataFile(Path(path), metric)  # type: ignore[arg-type]


def test_files_are_joined_by_model_name_and_credited_by_their_metric(tmp_path: Path) -> None:
    first = write(tmp_path / "sums.json", item("q1", a=0.2, b=0.9))
    second = write(tmp_path / "codes.json", item("q2", b=0.4, a=0.0))
    data = read_router_data([DataFile(first, None), DataFile(second, "probability")])
    np.testing.assert_array_equal(data.scores, [[0.2, 0.9], [0.0, 0.4]])
    np.testing.assert_array_equal(data.credit, [[0.2, 0.9], [0.0, 1.0]])
    assert data.tasks == ("sums.json", "codes.json")
    assert [(entry.name, entry.rows) for entry in data.entries] == [("sums.json", 1), ("codes.json", 1)]


def test_files_of_different_pools_are_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path / "x.json", item("q", a=1, b=0)), write(tmp_path / "y.json", item("q", a=1, c=0))
    with pytest.raises(DataError, match=r"y\.json: scores other models than .*x\.json; not in both: b, c"):
        read_router_data([DataFile(first, None), DataFile(second, None)])


def test_the_split_holds_out_a_share_of_each_task_and_whole_questions(tmp_path: Path) -> None:
    big = write(tmp_path / "big.json", *(item(f"b{i % 40}", a=1, b=0) for i in range(80)))
    small = write(tmp_path / "small.json", *(item(f"s{i}", a=1, b=0) for i in range(10)))
    data = read_router_data([DataFile(big, None), DataFile(small, None)])
    train, validation = split_rows(data, validation_fraction=0.2, seed=0)
    assert sorted([*train, *validation]) == list(range(90))
    assert {task: len(rows) for task, rows in data.rows_of_tasks(validation).items()} == {
        "big.json": 16,
        "small.json": 2,
    }
    assert not {data.questions[row] for row in train} & {data.questions[row] for row in validation}
    other = split_rows(data, validation_fraction=0.2, seed=1)[1]
    assert validation.tolist() != other.tolist()


def test_the_split_tears_no_group_apart(tmp_path: Path) -> None:
    rows = [
        item(f"q{i}", a=1, b=0) | {"id": f"{i}", "task": "t", "samples": 1, "group": f"g{i // 4}" if i < 40 else None}
        for i in range(50)
    ]
    table = tmp_path / "x.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = read_router_data([DataFile(table, None)])
    train, validation = split_rows(data, validation_fraction=0.3, seed=0)
    groups = [{data.groups[row] for row in side} - {None} for side in (train, validation)]
    assert all(groups)
    assert not groups[0] & groups[1]


def test_one_row_cannot_be_split(tmp_path: Path) -> None:
    data = read_router_data([DataFile(write(tmp_path / "x.json", item("q", a=1, b=0)), None)])
    with pytest.raises(DataError, match="1 rows are too few"):
        split_rows(data, validation_fraction=0.5, seed=0)


def test_each_task_is_cut_or_repeated_to_the_same_number_of_rows(tmp_path: Path) -> None:
    long = write(tmp_path / "long.json", *(item(f"l{i}", a=1, b=0) for i in range(7)))
    short = write(tmp_path / "short.json", *(item(f"s{i}", a=1, b=0) for i in range(2)))
    data = read_router_data([DataFile(long, None), DataFile(short, None)])
    rows = resample_per_task(data, np.arange(9), 5)
    assert rows.tolist() == [0, 1, 2, 3, 4, 7, 8, 7, 8, 7]
    assert resample_per_task(data, np.arange(9), None).tolist() == list(range(9))
