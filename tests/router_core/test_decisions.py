"""The decision log's form: what is written is read again, and what is wrong with a line is told by file and line."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.decisions import DecisionRecord, decision_line, file_name, read_decisions
from router_core.errors import DecisionLogError

OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(codec="utf-8"), max_size=20),
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-(2**63), 2**64 - 1),
    bool: st.booleans(),
    type(None): st.none(),
}


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Every value of a field's type."""
    if kind in OF_TYPE:
        return OF_TYPE[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(of_type(get_args(kind)[0]), max_size=3).map(tuple)
    if isinstance(kind, type):
        return st.builds(kind, **{name: of_type(hint) for name, hint in get_type_hints(kind).items()})
    return st.one_of(*map(of_type, get_args(kind)))


records: st.SearchStrategy[DecisionRecord] = of_type(DecisionRecord)


def record(**changes: Any) -> DecisionRecord:
    """A plain record."""
    fields: dict[str, Any] = {
        "decision_id": "0123456789abcdef",
        "request_id": "r",
        "time_s": 1.5,
        "endpoint": "/v1/chat/completions",
        "key_id": None,
        "session": None,
        "requested_model": "auto",
        "ask": "how?",
        "ask_sha256": None,
        "ask_characters": 4,
        "is_ask_truncated": False,
        "policy": "fixed",
        "bundle_digest": None,
        "reason": "routed",
        "detail": "",
        "chosen_model": "alpha",
        "answered_model": "alpha",
        "propensity": 1.0,
        "candidates": [{"model": "alpha", "probability": 0.5}, {"model": "beta", "masked": "unhealthy"}],
        "confidence": None,
        "novelty": None,
        "quality": 1.0,
        "max_cost": None,
        "cost_unit": "price",
        "attempts": 1,
        "status": 200,
        "outcome": "ok",
        "error": None,
        "is_stream": False,
        "is_cached": False,
        "input_tokens": 3,
        "output_tokens": 4,
        "cost": None,
        "overhead_s": 0.001,
        "first_token_s": None,
        "duration_s": 0.1,
    }
    return msgspec.convert({"schema_version": 1, **fields, **changes}, DecisionRecord)


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


@given(st.lists(records, max_size=3))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, written: list[DecisionRecord]) -> None:
    path = write(tmp_path_factory.mktemp("log") / "log.jsonl", *map(decision_line, written))
    assert list(read_decisions(path)) == written


@given(records)
def test_a_record_is_one_line_of_json_with_every_field(written: DecisionRecord) -> None:
    line = decision_line(written)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == list(DecisionRecord.__struct_fields__)


def test_a_folder_is_read_in_the_order_in_which_its_files_were_begun(tmp_path: Path) -> None:
    began = datetime(2026, 9, 30, 23, 59, 59, 999999, tzinfo=UTC)
    for i, process in ((0, 999), (1, 7), (2, 10)):
        name = file_name(began + timedelta(microseconds=i), process)
        write(tmp_path / name, decision_line(record(request_id=str(i))))
    write(tmp_path / "notes.jsonl", b"not of the log\n")
    assert [one.request_id for one in read_decisions(tmp_path)] == ["0", "1", "2"]


def test_a_torn_last_line_is_passed_over_in_every_file(tmp_path: Path) -> None:
    for i in range(2):
        line = decision_line(record(request_id=str(i)))
        write(tmp_path / f"decisions-{i}.jsonl", line, line[: len(line) // 2])
    assert [one.request_id for one in read_decisions(tmp_path)] == ["0", "1"]


def without(name: str) -> bytes:
    fields = json.loads(decision_line(record()))
    del fields[name]
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"{\n", "not a decision record: "),
        (b"[1]\n", "Expected `object`"),
        (b'"\xff"\n', "not a decision record: "),
        (without("duration_s"), "duration_s"),
        (decision_line(record()).replace(b'"status":200', b'"status":"fine"'), "$.status"),
        (decision_line(record()).replace(b'"error":', b'"mistake":null,"error":'), "mistake"),
        (
            b'{"schema_version": 2, "all": "new"}\n',
            "schema_version 2 is not known here, only 1; read it with a newer release",
        ),
    ],
)
def test_what_is_no_record_is_told_by_file_and_line(tmp_path: Path, bad: bytes, told: str) -> None:
    path = write(tmp_path / "decisions-1.jsonl", decision_line(record()), bad, decision_line(record()))
    for source in (path, tmp_path):
        read = read_decisions(source)
        next(read)
        with pytest.raises(DecisionLogError) as error:
            next(read)
        assert str(error.value).startswith(f"{path}:2: ")
        assert told in str(error.value)


def test_a_message_never_holds_a_prompt(tmp_path: Path) -> None:
    line = decision_line(record(ask="secret prompt")).replace(b'"status":200', b'"status":"secret prompt"')
    with pytest.raises(DecisionLogError) as error:
        list(read_decisions(write(tmp_path / "log.jsonl", line)))
    assert "secret prompt" not in str(error.value)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DecisionLogError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        list(read_decisions(tmp_path / "nowhere.jsonl"))
    assert list(read_decisions(tmp_path)) == []
