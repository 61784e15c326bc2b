"""Several processes behind one port: shares, deaths and ends, seen from the clients' side."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.support.pid_workers"]


@pytest.fixture
def workers() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The parent of two workers, and its URL."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        try:
            assert parent.stdout is not None
            yield parent, parent.stdout.readline().strip()
        finally:
            parent.kill()


@contextlib.contextmanager
def connected(url: str, count: int) -> Iterator[dict[httpx.Client, int]]:
    """So many clients, each with a connection of its own that stays open, and the process that has it."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=url, timeout=30)) for _ in range(count)]
        yield {client: int(client.get("/").text) for client in clients}


async def shares(url: str, count: int, wanted: list[int]) -> None:
    """Wait until so many new connections are divided like this; closed ones take a moment to be noticed."""

    async def are_right() -> bool:
        with connected(url, count) as held:
            return sorted(Counter(held.values()).values()) == wanted

    await eventually(are_right)


async def test_connections_are_shared_equally(workers: tuple[subprocess.Popen[str], str]) -> None:
    _, url = workers
    with connected(url, 64) as held:
        assert sorted(Counter(held.values()).values()) == [32, 32]
        again = {client: int(client.get("/").text) for client in held}
        assert again == held
    # All of those have closed, which both workers must have told: an odd one more or less would show.
    await shares(url, 8, [4, 4])


async def test_new_connections_go_where_others_have_closed(workers: tuple[subprocess.Popen[str], str]) -> None:
    _, url = workers
    with connected(url, 8) as held:
        emptied = held[next(iter(held))]
        for client, process in held.items():
            if process == emptied:
                client.close()

        async def goes_there() -> bool:
            with connected(url, 4) as more:
                return set(more.values()) == {emptied}

        await eventually(goes_there)


async def test_a_dead_worker_is_replaced_and_the_other_goes_on(workers: tuple[subprocess.Popen[str], str]) -> None:
    _, url = workers
    with connected(url, 2) as held:
        (survivor, kept), (_, killed) = held.items()
        os.kill(killed, signal.SIGKILL)
        assert int(survivor.get("/").text) == kept

        async def is_replaced() -> bool:
            with connected(url, 2) as more:
                return len({*more.values(), kept}) == 2 and killed not in more.values()

        await eventually(is_replaced)


def test_a_worker_that_cannot_be_replaced_now_is_tried_again_and_the_other_goes_on() -> None:
    with (
        subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as parent,
        killed_at_the_end(parent),
    ):
        assert parent.stdout is not None
        assert parent.stderr is not None
        url = parent.stdout.readline().strip()
        with connected(url, 2) as held:
            (survivor, kept), (_, killed) = held.items()
            limits = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            os.kill(killed, signal.SIGKILL)
            events = [json.loads(parent.stderr.readline())["event"] for _ in range(2)]
            assert events == ["worker_died", "worker_not_started"]
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, limits)
            assert int(survivor.get("/").text) == kept
            with connected(url, 1) as more:
                assert set(more.values()) == {kept}
        parent.terminate()
        assert parent.wait(timeout=30) == 0


@contextlib.contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_all(workers: tuple[subprocess.Popen[str], str], number: signal.Signals) -> None:
    parent, url = workers
    with connected(url, 2) as held:
        parent.send_signal(number)
        assert parent.wait(timeout=30) == 0
        assert not any(is_alive(process) for process in held.values())


@pytest.mark.parametrize("has_read_all", [True, False])
async def test_workers_do_not_outlive_their_parent(
    workers: tuple[subprocess.Popen[str], str], has_read_all: bool
) -> None:
    parent, url = workers
    with connected(url, 4) as held:
        if not has_read_all:
            parent.send_signal(signal.SIGSTOP)
            close_half_of(held)
        parent.kill()

        async def are_gone() -> bool:
            return not any(is_alive(process) for process in held.values())

        await eventually(are_gone)


def close_half_of(held: dict[httpx.Client, int]) -> None:
    """Close a connection of each worker, and see that they have noticed."""
    for process in set(held.values()):
        closed, kept = (client for client, holder in held.items() if holder == process)
        closed.close()
        for _ in range(3):
            kept.get("/")


def is_alive(process: int) -> bool:
    """False too for one that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["FAILS", "NO_DESCRIPTORS"])
def test_workers_that_cannot_start_end_all(how: str) -> None:
    env = dict(os.environ, **{how: "1"})
    done = subprocess.run(COMMAND, capture_output=True, text=True, cwd=ROOT, env=env, timeout=60, check=False)
    assert done.returncode == 2
    assert "a worker could not start" in done.stderr
    assert done.stdout == ""


def test_a_stop_while_workers_start_is_not_lost() -> None:
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        deadline = time.monotonic() + 30
        while not Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text():
            assert time.monotonic() < deadline
        parent.terminate()
        assert parent.wait(timeout=30) == 0
