import json
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core.answers import AnswerSpec
from router_core.table import Query
from router_training.errors import DataError
from router_training.pool.journal import Entry, Header, Journal, read_journal

QUERIES = [Query(id="q", question="1 + 1?", task="sums", answer=AnswerSpec(kind="numeric", value=2))]
HEADER = Header.of_run(QUERIES, temperature=0.0, max_tokens=16, seed=0)


def entry(sample: int = 0, reply: str = "2", model: str = "m") -> Entry:
    return Entry(
        id="q",
        model=model,
        sample=sample,
        reply=reply,
        right=True,
        prompt_tokens=3,
        completion_tokens=None,
        seconds=0.5,
        finish_reason=None,
    )


def written(path: Path, *entries: Entry) -> Path:
    with Journal(path, HEADER) as journal:
        for one in entries:
            journal.append(one)
    return path


def test_what_was_appended_is_there_again(tmp_path):
    path = written(tmp_path / "deep" / "j.jsonl", entry(0), entry(1))
    with Journal(path, HEADER) as journal:
        assert list(journal.entries.values()) == [entry(0), entry(1)]


def test_a_line_is_in_the_file_before_append_returns(tmp_path):
    with Journal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(entry())
        assert list(read_journal(journal.path, HEADER).values()) == [entry()]


@settings(max_examples=60, deadline=None)
@given(reply=st.text())
def test_any_reply_survives(reply, tmp_path_factory):
    path = written(tmp_path_factory.mktemp("journal") / "j.jsonl", entry(reply=reply), entry(1))
    assert [found.reply for found in read_journal(path, HEADER).values()] == [reply, "2"]


def test_a_torn_last_line_is_dropped_and_what_follows_is_whole(tmp_path):
    path = written(tmp_path / "j.jsonl", entry(0), entry(1))
    path.write_bytes(path.read_bytes()[:-9])
    with Journal(path, HEADER) as journal:
        assert list(journal.entries.values()) == [entry(0)]
        journal.append(entry(2))
    assert list(read_journal(path, HEADER).values()) == [entry(0), entry(2)]


def test_a_last_line_of_zeros_as_a_power_cut_leaves_it_is_dropped(tmp_path):
    path = written(tmp_path / "j.jsonl", entry(0))
    path.write_bytes(path.read_bytes() + b"\0" * 50 + b"\n")
    with Journal(path, HEADER) as journal:
        journal.append(entry(1))
    assert list(read_journal(path, HEADER).values()) == [entry(0), entry(1)]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = written(tmp_path / "j.jsonl", entry(0), entry(1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{broken\n" + lines[2])
    with pytest.raises(DataError, match=r"j\.jsonl: line 2 is damaged"):
        Journal(path, HEADER)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Header.of_run(QUERIES, temperature=0.7, max_tokens=16, seed=0), "temperature is 0.0 there and 0.7 here"),
        (Header.of_run(QUERIES, temperature=0.0, max_tokens=32, seed=0), "max_tokens is 16 there and 32 here"),
        (Header.of_run(QUERIES, temperature=0.0, max_tokens=16, seed=4), "seed is 0 there and 4 here"),
        (Header.of_run([], temperature=0.0, max_tokens=16, seed=0), "the queries differ"),
    ],
)
def test_another_runs_journal_is_refused_with_the_difference_and_left_as_it_is(other, difference, tmp_path):
    path = written(tmp_path / "j.jsonl", entry())
    before = path.read_bytes()
    with pytest.raises(DataError, match="the journal of another run") as caught:
        Journal(path, other)
    assert difference in str(caught.value)
    assert path.read_bytes() == before


def test_correcting_an_expected_answer_does_not_make_another_run():
    corrected = [QUERIES[0].model_copy(update={"answer": AnswerSpec(kind="numeric", value=3)})]
    assert Header.of_run(corrected, temperature=0.0, max_tokens=16, seed=0) == HEADER


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"id": "q"}\n', b"\xff\xfe\n\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(content, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"notes\.txt: not a journal"):
        Journal(path, HEADER)
    assert path.read_bytes() == content


def test_two_runs_cannot_share_a_journal_but_follow_each_other(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path, HEADER), pytest.raises(DataError, match="another run is writing this journal"):
        Journal(path, HEADER)
    with Journal(path, HEADER) as journal:
        assert journal.entries == {}


def test_sync_is_due_after_a_second(tmp_path):
    now = [100.0]
    with Journal(tmp_path / "j.jsonl", HEADER, clock=lambda: now[0]) as journal:
        assert not journal.is_sync_due
        now[0] += 1.0
        assert journal.is_sync_due
        journal.sync()
        assert not journal.is_sync_due


def test_syncing_after_close_is_harmless(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", HEADER)
    journal.close()
    journal.sync()
    journal.close()


def test_a_path_that_cannot_be_a_journal_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be opened as a journal"):
        Journal(tmp_path, HEADER)


def test_a_full_disk_is_one_line_and_what_was_kept_is_still_there(tmp_path):
    path = written(tmp_path / "j.jsonl", entry(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path, HEADER) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
        try:
            with pytest.raises(DataError, match=r"j\.jsonl: cannot be written: .+; what it holds is kept"):
                journal.append(entry(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Journal(path, HEADER) as journal:
        assert list(journal.entries.values()) == [entry(0)]


def test_the_file_is_json_lines_with_the_header_first(tmp_path):
    path = written(tmp_path / "j.jsonl", entry())
    header, line = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    assert header["format"] == "routerdc-pool-journal"
    assert (line["id"], line["model"], line["sample"], line["reply"]) == ("q", "m", 0, "2")
