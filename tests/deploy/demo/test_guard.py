"""The guard with real processes: what it starts is gone when it should be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE_S = 20.0
# A command with a child of its own; it writes both process ids to a file, then waits.
FAMILY = (
    "import os, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
    "with open(sys.argv[1] + '.new', 'w') as file: file.write(f'{os.getpid()} {child.pid}')\n"
    "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
    "time.sleep(300)\n"
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def family_of(path: Path) -> list[int]:
    wait_for(path.exists)
    return [int(pid) for pid in path.read_text().split()]


def guarded(pids: Path) -> list[str]:
    return [sys.executable, "-m", "deploy.demo.guard", sys.executable, "-c", FAMILY, str(pids)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_guard_ends_the_whole_family(tmp_path: Path, number: signal.Signals) -> None:
    guard = subprocess.Popen(guarded(tmp_path / "pids"), cwd=ROOT, start_new_session=True)
    family = family_of(tmp_path / "pids")
    guard.send_signal(number)
    guard.wait(PATIENCE_S)
    assert not any(alive(pid) for pid in family)


def test_when_the_program_is_killed_the_family_goes_too(tmp_path: Path) -> None:
    start = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], start_new_session=True); time.sleep(300)"
    program = subprocess.Popen([sys.executable, "-c", start, *guarded(tmp_path / "pids")], cwd=ROOT)
    family = family_of(tmp_path / "pids")
    assert all(alive(pid) for pid in family)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    wait_for(lambda: not any(alive(pid) for pid in family))


def test_the_commands_status_is_the_guards() -> None:
    command = [sys.executable, "-m", "deploy.demo.guard", sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, cwd=ROOT, check=False, start_new_session=True).returncode == 7


def test_without_a_command_it_says_how_to_use_it() -> None:
    done = subprocess.run([sys.executable, "-m", "deploy.demo.guard"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"usage" in done.stderr
