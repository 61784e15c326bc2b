import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router_core.table import read_table
from router_training.__main__ import main
from tests.support.answering_server import MODELS, write_sums

ROOT = Path(__file__).parents[3]


def arguments(server, folder: Path, *more: str) -> list[str]:
    """The command of a run over `folder`/queries.jsonl; later options override earlier ones."""
    return [
        *("pool", "score", "--queries", str(folder / "queries.jsonl"), "--endpoint", server.url),
        *("--models", ",".join(MODELS), "--out", str(folder / "table.jsonl"), "--retries", "0", *more),
    ]


def journal_of(folder: Path) -> Path:
    return folder / "table.jsonl.journal.jsonl"


def answered_cells(journal: bytes) -> set[tuple[str, str, int]]:
    """(id, model, sample) of each whole line after the header."""
    whole = journal[: journal.rfind(b"\n") + 1].split(b"\n")[1:-1]
    return {(entry["id"], entry["model"], entry["sample"]) for entry in map(json.loads, whole)}


def as_seen_by_the_server(cell: tuple[str, str, int], *, is_seeded: bool) -> tuple[str, str, int]:
    query_id, model, sample = cell
    return model, f"What is {query_id[1:]} + 100?", sample if is_seeded else -1


# The table


def test_the_table_holds_the_share_of_right_samples(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 4)
    assert main(arguments(server, tmp_path, "--samples", "4", "--temperature", "0.7")) == 0
    table = read_table(tmp_path / "table.jsonl")
    assert table.models == MODELS
    assert table.scores.tolist() == [[1, 1, 0.5], [1, 0, 0.5], [1, 1, 0.5], [1, 0, 0.5]]
    assert table.tasks == ["even", "odd", "even", "odd"]
    assert {row.samples for row in table.rows} == {4}
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["task", "n", *MODELS] in printed
    assert ["odd", "2", "1.000", "0.000", "0.500"] in printed
    assert ["all", "4", "1.000", "0.500", "0.500"] in printed


def test_limit_takes_the_first_queries_and_a_longer_run_goes_on_from_there(server, tmp_path):
    write_sums(tmp_path / "queries.jsonl", 5)
    assert main(arguments(server, tmp_path, "--limit", "2")) == 0
    assert [row.id for row in read_table(tmp_path / "table.jsonl").rows] == ["q0", "q1"]
    assert main(arguments(server, tmp_path)) == 0
    assert len(read_table(tmp_path / "table.jsonl")) == 5
    assert set(server.seen()["tries"].values()) == {1}


def test_the_config_file_says_the_same_as_the_flags_and_flags_win(server, tmp_path):
    queries = write_sums(tmp_path / "queries.jsonl", 2)
    job = tmp_path / "job.yaml"
    job.write_text(
        f"queries: {queries}\nendpoint: {server.url}/v1\nmodels: [sharp, even]\n"
        f"out: {tmp_path / 't.jsonl'}\nlimit: 1\n",
        encoding="utf-8",
    )
    assert main(["pool", "score", "--config", str(job), "--limit", "2"]) == 0
    table = read_table(tmp_path / "t.jsonl")
    assert (table.models, len(table)) == (("sharp", "even"), 2)


# Resuming


def test_killed_and_resumed_asks_nothing_twice_and_gives_the_same_table(server, tmp_path):
    options = ("--samples", "2", "--temperature", "0.5", "--concurrency", "4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_sums(folder / "queries.jsonl", 10)
    assert main(arguments(server, whole, *options)) == 0

    server.plan(delay_s=0.05)
    command = [sys.executable, "-m", "router_training", *arguments(server, killed, *options)]
    kept_at_kill = []
    for enough in (8, 26):  # killed twice, so that a resumed run is killed too
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _wait_for_lines(journal_of(killed), enough, process)
        process.kill()
        process.wait(timeout=30)
        kept = answered_cells(journal_of(killed).read_bytes())
        tries = server.seen()["tries"]
        seen_cells = [as_seen_by_the_server(cell, is_seeded=True) for cell in kept]
        kept_at_kill.append({cell: tries[cell] for cell in seen_cells})
        assert not (killed / "table.jsonl").exists()
    assert main(arguments(server, killed, *options)) == 0

    assert (killed / "table.jsonl").read_bytes() == (whole / "table.jsonl").read_bytes()
    tries = server.seen()["tries"]
    for kept in kept_at_kill:
        assert {cell: tries[cell] for cell in kept} == kept  # not one was asked again
    assert sum(tries.values()) <= 60 + 2 * 4  # each kill loses at most what was under way


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(shared_server, tmp_path_factory):
    """The journal and the table of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    write_sums(folder / "queries.jsonl", 3)
    assert main(arguments(shared_server, folder)) == 0
    return journal_of(folder).read_bytes(), (folder / "table.jsonl").read_bytes()


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1))
@example(share=0.0)
@example(share=1.0)
def test_a_journal_cut_at_any_byte_gives_the_same_table_and_asks_only_what_is_gone(share, shared_server, finished):
    journal, table = finished
    cut = journal[: int(share * len(journal))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sums(folder / "queries.jsonl", 3)
        journal_of(folder).write_bytes(cut)
        shared_server.plan()
        assert main(arguments(shared_server, folder)) == 0
        assert (folder / "table.jsonl").read_bytes() == table
        assert answered_cells(journal_of(folder).read_bytes()) == answered_cells(journal)
    gone = answered_cells(journal) - answered_cells(cut)
    expected = {as_seen_by_the_server(cell, is_seeded=False): 1 for cell in gone}
    assert shared_server.seen()["tries"] == expected


def test_a_complete_journal_needs_no_endpoint_and_is_judged_anew(server, tmp_path):
    queries = write_sums(tmp_path / "queries.jsonl", 2)
    assert main(arguments(server, tmp_path)) == 0
    server.plan()
    corrected = queries.read_text(encoding="utf-8").replace('"value": 100', '"value": 999')
    queries.write_text(corrected, encoding="utf-8")
    assert main(arguments(server, tmp_path, "--endpoint", "http://127.0.0.1:9/v1")) == 0
    assert read_table(tmp_path / "table.jsonl").scores.tolist() == [[0, 0, 0], [1, 0, 1]]
    assert server.seen()["tries"] == {}


def test_a_model_added_later_is_asked_alone(server, tmp_path):
    write_sums(tmp_path / "queries.jsonl", 2)
    assert main(arguments(server, tmp_path, "--models", "sharp")) == 0
    server.plan()
    assert main(arguments(server, tmp_path, "--models", "even,sharp")) == 0
    assert {model for model, _, _ in server.seen()["tries"]} == {"even"}
    assert read_table(tmp_path / "table.jsonl").models == ("even", "sharp")


def test_the_journal_of_another_run_is_refused_before_anything_is_asked(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 2)
    assert main(arguments(server, tmp_path)) == 0
    server.plan()
    assert main(arguments(server, tmp_path, "--max-tokens", "9")) == 2
    assert "the journal of another run (max_tokens is 256 there and 9 here)" in capsys.readouterr().err
    write_sums(tmp_path / "queries.jsonl", 3)
    assert main(arguments(server, tmp_path)) == 2
    assert "the journal of another run (the queries differ)" in capsys.readouterr().err
    assert server.seen()["tries"] == {}


def test_two_runs_cannot_share_a_journal(server, tmp_path, capsys, monkeypatch):
    write_sums(tmp_path / "queries.jsonl", 2)
    assert main(arguments(server, tmp_path, "--limit", "1")) == 0
    command = [sys.executable, "-m", "router_training", *arguments(server, tmp_path)]
    server.plan(delay_s=60)
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert b"asking 3" in first.stdout.readline()  # printed while the journal is held
        assert main(arguments(server, tmp_path)) == 2
    finally:
        first.kill()
        first.communicate(timeout=30)
    assert "another run is writing this journal" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_answered_and_says_how_to_go_on(server, tmp_path):
    write_sums(tmp_path / "queries.jsonl", 40)
    server.plan(delay_s=0.1)
    command = [sys.executable, "-m", "router_training", *arguments(server, tmp_path, "--concurrency", "2")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait_for_lines(journal_of(tmp_path), 5, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    kept = len(answered_cells(journal_of(tmp_path).read_bytes()))
    assert kept >= 4
    assert errors.splitlines()[-1] == (
        f"router-training pool score: interrupted; {kept} of 120 answers are in {journal_of(tmp_path)}"
        " and the same command goes on from there"
    )


# What goes wrong at the endpoint


def test_what_passes_is_ridden_out(server, tmp_path):
    write_sums(tmp_path / "queries.jsonl", 2)
    server.plan(failures=1, status=429, retry_after="0")
    assert main(arguments(server, tmp_path, "--retries", "2")) == 0
    assert set(server.seen()["tries"].values()) == {2}


def test_no_more_requests_at_once_than_allowed_over_all_models(server, tmp_path):
    write_sums(tmp_path / "queries.jsonl", 6)
    server.plan(delay_s=0.05)
    assert main(arguments(server, tmp_path, "--concurrency", "3")) == 0
    assert server.seen()["most_under_way"] == 3


def test_missing_answers_leave_the_table_unwritten_and_are_asked_again_alone(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 3)
    server.plan(failures=1, fails_model="even")
    assert main(arguments(server, tmp_path, "--concurrency", "1")) == 1
    errors = capsys.readouterr().err
    assert "table.jsonl is not written: 3 of 9 answers are missing." in errors
    assert "  even: 3 (queries q0, q1, q2): HTTP 500 after 1 tries" in errors
    assert not (tmp_path / "table.jsonl").exists()
    server.plan()
    assert main(arguments(server, tmp_path)) == 0
    assert {model for model, _, _ in server.seen()["tries"]} == {"even"}


def test_an_endpoint_that_fails_everything_ends_the_run_early(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 30)
    server.plan(failures=1, status=503)
    assert main(arguments(server, tmp_path, "--concurrency", "4")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "4 in a row unanswered: HTTP 503 after 1 tries; 0 of 90 answers are in " in last
    assert len(server.seen()["tries"]) <= 8


def test_a_refusal_ends_the_run_with_one_line(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 3)
    server.plan(failures=1, status=400, fails_model="even")
    assert main(arguments(server, tmp_path, "--concurrency", "1")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "HTTP 400 for query 'q0', model even: as planned; 1 of 9 answers are in " in last


def test_a_model_that_is_not_served_is_found_before_anything_is_asked(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 2)
    assert main(arguments(server, tmp_path, "--models", "sharp,blunt")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{server.url}/v1: does not serve blunt; it serves: sharp, even, lucky" in last
    assert server.seen()["tries"] == {}


def test_an_unreachable_endpoint_is_one_line(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main(arguments(server, tmp_path, "--endpoint", url)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"router-training pool score: {url}/v1/: no connection (")


def test_the_key_comes_from_the_environment_and_stays_there(server, tmp_path, capsys, monkeypatch):
    write_sums(tmp_path / "queries.jsonl", 1)
    server.plan(api_key="sesame")
    monkeypatch.setenv("POOL_KEY", "sesame")
    assert main(arguments(server, tmp_path, "--api-key-env", "POOL_KEY")) == 0
    captured = capsys.readouterr()
    assert "sesame" not in captured.out + captured.err + journal_of(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "table.jsonl.journal.jsonl").unlink()
    assert main(arguments(server, tmp_path)) == 2
    assert "HTTP 401 for query 'q0', model" in capsys.readouterr().err


# What goes wrong before


def test_a_dry_run_asks_nothing_and_writes_nothing(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 4)
    before = sorted(os.listdir(tmp_path))
    assert main(arguments(server, tmp_path, "--samples", "2", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "4 queries of 2 tasks x 3 models x 2 samples = 24 answers; 0 are in" in printed
    assert sorted(os.listdir(tmp_path)) == before
    assert server.seen()["tries"] == {}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--concurrency", "0"), "--concurrency: Input should be greater than or equal to 1 (got 0)"),
        (("--endpoint", "localhost:8000"), "--endpoint: must be an http(s) URL"),
        (("--models", "sharp,sharp"), "models: sharp named twice"),
        (("--models", "sharp,,even"), "--models: String should have at least 1 character (got '')"),
        (("--api-key-env", "NO_SUCH_KEY"), "--api-key-env: the environment has no NO_SUCH_KEY"),
        (("--queries", "absent.jsonl"), "absent.jsonl: no such file"),
        (("--config", "absent.yaml"), "absent.yaml: cannot be read"),
    ],
)
def test_bad_options_are_one_line(more, expected, server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 1)
    assert main(arguments(server, tmp_path, *more)) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert expected in errors
    assert not journal_of(tmp_path).exists()


def test_credentials_in_the_url_are_refused_and_not_repeated(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 1)
    assert main(arguments(server, tmp_path, "--endpoint", "http://me:sesame@127.0.0.1/v1")) == 2
    errors = capsys.readouterr().err
    assert "--api-key-env" in errors
    assert "sesame" not in errors


def test_a_table_that_cannot_be_written_is_one_line(server, tmp_path, capsys):
    write_sums(tmp_path / "queries.jsonl", 1)
    (tmp_path / "taken").mkdir()
    journal = tmp_path / "journal.jsonl"
    assert main(arguments(server, tmp_path, "--out", str(tmp_path / "taken"), "--journal", str(journal))) == 2
    assert "taken: cannot be written" in capsys.readouterr().err
    assert len(answered_cells(journal.read_bytes())) == 3
