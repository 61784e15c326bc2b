"""The sink on real files: what is written, what is lost and counted, what is left after a kill. F52."""

import asyncio
import errno
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.observability.decision_sink import DecisionSink
from gateway.observability.metrics import Metrics
from router_core.decisions import decision_line, read_decisions
from tests.gateway.observability.test_metrics import value
from tests.router_core.test_decisions import record
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
LINE_BYTES = len(decision_line(record(request_id="0000")))


def make_sink(folder: Path, metrics: Metrics | None = None, **options: Any) -> DecisionSink:
    limits = {"max_file_bytes": 1 << 20, "max_files": 100, **options}
    return DecisionSink(folder, metrics=Metrics([]) if metrics is None else metrics, **limits)


def ids(folder: Path) -> list[str]:
    return [one.request_id for one in read_decisions(folder)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def lost(metrics: Metrics, reason: str) -> float | None:
    return value(metrics, "gateway_decisions_lost_total", reason=reason)


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    return [(one.getMessage(), getattr(one, "gateway_fields", {})) for one in caplog.records]


def fill(sink: DecisionSink, numbers: range) -> None:
    for number in numbers:
        sink.add(record(request_id=f"{number:04}"))


async def written_again(sink: DecisionSink, caplog: pytest.LogCaptureFixture) -> None:
    """Add decisions until the end of the burst of losses is told."""

    async def is_told() -> bool:
        fill(sink, range(9999, 10000))
        return len(events(caplog)) == 2

    await eventually(is_told)


async def wrote(folder: Path, count: int) -> None:
    async def has_come() -> bool:
        return len(ids(folder)) == count

    await eventually(has_come)


async def test_decisions_are_written_in_order_by_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "log"
    sink = make_sink(folder)
    sink.start()
    fill(sink, range(3))
    await wrote(folder, 3)
    fill(sink, range(3, 5))
    await sink.aclose()
    assert ids(folder) == [f"{number:04}" for number in range(5)]
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_start_without_decisions_leaves_no_file(tmp_path: Path) -> None:
    sink = make_sink(tmp_path)
    sink.start()
    await sink.aclose()
    assert files(tmp_path) == []


async def test_a_file_that_is_full_is_followed_by_the_next_and_the_oldest_go(tmp_path: Path) -> None:
    sink = make_sink(tmp_path, max_file_bytes=10 * LINE_BYTES, max_files=3)
    sink.start()
    fill(sink, range(95))
    await sink.aclose()
    assert [len(ids(file)) for file in files(tmp_path)] == [10, 10, 5]
    assert ids(tmp_path) == [f"{number:04}" for number in range(70, 95)]


async def test_a_line_longer_than_a_file_has_a_file_of_its_own(tmp_path: Path) -> None:
    sink = make_sink(tmp_path, max_file_bytes=2 * LINE_BYTES)
    sink.start()
    fill(sink, range(1))
    sink.add(record(ask="long" * LINE_BYTES))
    fill(sink, range(1, 2))
    await sink.aclose()
    assert [len(ids(file)) for file in files(tmp_path)] == [1, 1, 1]


async def test_a_file_that_another_process_writes_is_not_removed(tmp_path: Path) -> None:
    """Two sinks stand for two processes: what keeps them apart are the names and the locks of their files."""
    idle, busy = make_sink(tmp_path), make_sink(tmp_path, max_file_bytes=LINE_BYTES, max_files=2)
    idle.start()
    fill(idle, range(1))
    await wrote(tmp_path, 1)
    busy.start()
    fill(busy, range(1, 6))
    await wrote(tmp_path, 2)
    assert ids(tmp_path) == ["0000", "0005"]
    fill(idle, range(6, 7))
    await idle.aclose()
    fill(busy, range(7, 8))
    await busy.aclose()
    assert ids(tmp_path) == ["0005", "0007"]


async def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    sink = make_sink(tmp_path)
    sink.start()
    fill(sink, range(1))
    await wrote(tmp_path, 1)
    for file in files(tmp_path):
        file.unlink()
    fill(sink, range(1, 2))
    await sink.aclose()
    assert ids(tmp_path) == ["0001"]


async def test_a_disk_that_hangs_fills_the_queue_and_that_is_told_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, hangs, goes = Metrics([]), threading.Event(), threading.Event()
    write = os.write

    def hang(descriptor: int, data: Any) -> int:
        hangs.set()
        goes.wait()
        return write(descriptor, data)

    sink = make_sink(tmp_path, metrics, max_queued_bytes=10 * LINE_BYTES)
    sink.start()
    monkeypatch.setattr(os, "write", hang)
    try:
        fill(sink, range(1))
        await asyncio.to_thread(hangs.wait)
        fill(sink, range(1, 13))
        assert lost(metrics, "queue_full") == 3
        assert [name for name, _ in events(caplog)] == ["decisions_lost"]
    finally:
        goes.set()

    await written_again(sink, caplog)
    await sink.aclose()
    assert ids(tmp_path)[:10] == [f"{number:04}" for number in range(10)]
    assert events(caplog)[1] == ("decisions_written_again", {"lost": lost(metrics, "queue_full")})


async def test_what_a_hanging_disk_has_not_taken_at_stop_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, hangs, goes = Metrics([]), threading.Event(), threading.Event()

    def hang(descriptor: int, data: Any) -> int:
        hangs.set()
        goes.wait()
        raise OSError(errno.EIO, "gone")

    sink = make_sink(tmp_path, metrics)
    sink.start()
    monkeypatch.setattr(os, "write", hang)
    monkeypatch.setattr("gateway.observability.decision_sink.CLOSE_TIMEOUT_S", 0.01)
    try:
        fill(sink, range(1))
        await asyncio.to_thread(hangs.wait)
        fill(sink, range(1, 4))
        await sink.aclose()
        assert lost(metrics, "unwritable") == 3
    finally:
        goes.set()


async def test_what_does_not_fit_into_the_queue_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics([])
    sink = make_sink(tmp_path, metrics, max_queued_bytes=10 * LINE_BYTES)
    fill(sink, range(13))
    assert lost(metrics, "queue_full") == 3
    sink.start()
    await wrote(tmp_path, 10)
    await written_again(sink, caplog)
    await sink.aclose()
    assert ids(tmp_path)[:10] == [f"{number:04}" for number in range(10)]
    assert [name for name, _ in events(caplog)] == ["decisions_lost", "decisions_written_again"]


@pytest.fixture
def failing_writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Makes writes of lines fail with an errno after half of the bytes, and succeed again."""
    state: dict[str, int | None] = {"errno": None}
    write = os.write

    def write_or_fail(descriptor: int, data: Any) -> int:
        number = state["errno"]
        if number is None:
            return write(descriptor, data)
        if len(data) > LINE_BYTES // 2:
            return write(descriptor, data[: len(data) - LINE_BYTES // 2])
        raise OSError(number, os.strerror(number))

    def fail_with(number: int | None) -> None:
        state["errno"] = number

    monkeypatch.setattr(os, "write", write_or_fail)
    return fail_with


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "unwritable")])
async def test_what_the_disk_does_not_take_is_counted_and_told_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    failing_writes: Callable[[int | None], None],
    number: int,
    reason: str,
) -> None:
    metrics = Metrics([])
    sink = make_sink(tmp_path, metrics)
    sink.start()
    fill(sink, range(2))
    await wrote(tmp_path, 2)
    failing_writes(number)
    for first in (2, 4):
        fill(sink, range(first, first + 2))

        async def are_lost(count: int = first) -> bool:
            return lost(metrics, reason) == count

        await eventually(are_lost)
    failing_writes(None)
    fill(sink, range(6, 8))
    await sink.aclose()
    assert ids(tmp_path) == ["0000", "0001", "0006", "0007"]
    assert all(file.read_bytes().endswith(b"\n") for file in files(tmp_path)), "half a line was left"
    (gone, back) = events(caplog)
    assert gone == ("decisions_lost", {"reason": reason, "why": os.strerror(number)})
    assert back == ("decisions_written_again", {"lost": 4})


async def test_a_folder_that_becomes_unwritable_costs_decisions_and_nothing_else(tmp_path: Path) -> None:
    metrics, folder = Metrics([]), tmp_path / "log"
    sink = make_sink(folder, metrics)
    sink.start()
    folder.rmdir()
    folder.write_text("in the way")
    fill(sink, range(3))

    async def are_lost() -> bool:
        return lost(metrics, "unwritable") == 3

    await eventually(are_lost)
    folder.unlink()
    fill(sink, range(3, 4))
    await sink.aclose()
    assert ids(folder) == ["0003"]


def test_a_folder_that_cannot_be_written_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "log", Path("/proc/decisions")):
        with pytest.raises(ConfigError, match=r"decisions\.path: no file can be written in '.*': \w+"):
            make_sink(folder).start()


async def test_closing_what_never_started_is_nothing(tmp_path: Path) -> None:
    await make_sink(tmp_path).aclose()


# Adds decisions until it is killed, or, with a limit on the size of files, until it has been told of losses.
WRITER = """
import asyncio, json, resource, sys
from pathlib import Path
from gateway.observability.decision_sink import DecisionSink
from gateway.observability.metrics import Metrics
from tests.router_core.test_decisions import record

async def main(folder, limit):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    metrics = Metrics([])
    sink = DecisionSink(Path(folder), max_file_bytes=1 << 20, max_files=100, metrics=metrics)
    sink.start()
    number = 0
    while not limit or number < 2000:
        for _ in range(50):
            sink.add(record(request_id=f"{number:04}"))
            number += 1
        await asyncio.sleep(0.001)
        if number == 1000:
            print("a thousand", flush=True)
    await sink.aclose()
    text = metrics.render()[0].decode()
    print(next(line for line in text.splitlines() if 'reason="disk_full"' in line and "_total{" in line), flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def writer(folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


async def test_a_killed_process_leaves_whole_lines_and_at_most_one_torn(tmp_path: Path) -> None:
    process = await asyncio.to_thread(writer, tmp_path)
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline) == "a thousand\n"

        async def has_written() -> bool:
            return len(ids(tmp_path)) > 1000

        await eventually(has_written)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    found = ids(tmp_path)
    assert found == [f"{number:04}" for number in range(len(found))]
    torn = [line for file in files(tmp_path) for line in file.read_bytes().splitlines() if line[-1:] != b"}"]
    assert len(torn) <= 1


async def test_a_real_limit_on_files_loses_and_counts_and_leaves_no_torn_line(tmp_path: Path) -> None:
    process = await asyncio.to_thread(writer, tmp_path, 100 * LINE_BYTES + 7)
    told, errors = await asyncio.to_thread(process.communicate, timeout=60)
    count = round(float(told.split()[-1]))
    assert process.returncode == 0, errors
    assert count > 0
    assert count + len(ids(tmp_path)) == 2000
    assert all(file.read_bytes().endswith(b"}\n") for file in files(tmp_path))


def test_a_log_line_never_holds_a_record(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    sink = make_sink(tmp_path, max_queued_bytes=1)
    sink.add(record(ask="secret prompt"))
    sink.start()
    asyncio.run(sink.aclose())
    assert events(caplog)
    assert "secret prompt" not in json.dumps(events(caplog))
