import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.gateways.session import cpu_seconds, memory_kib, owners, processes_of

# Burns in a process, in a thread that ends, and in children: one that is waited for and one that lives on.
TREE = """
import os, sys, threading, time

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

burn(0.1)
thread = threading.Thread(target=burn, args=(0.1,))
thread.start()
thread.join()
gone = os.fork()
if gone == 0:
    burn(0.1)
    os._exit(0)
os.waitpid(gone, 0)
if os.fork() == 0:
    burn(0.1)
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
block = bytearray(32 << 20)
print("parent", flush=True)
sys.stdin.read()
"""


@contextmanager
def running(program: str, lines: int) -> Iterator[subprocess.Popen[str]]:
    """The program as the leader of a session, once it has printed so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        yield process
    finally:
        process.communicate(timeout=20)


def test_the_whole_tree_is_counted_threads_and_children_that_are_gone_too() -> None:
    with running(TREE, lines=2) as process:
        assert len(processes_of(process.pid)) == 2
        taken = cpu_seconds(process.pid)
        alone = cpu_seconds(process.pid)
    # Four burns of 0.1 s, and Python's own start and forks; a second look costs it nothing.
    assert 0.39 <= taken < 0.39 + 0.5
    assert alone == pytest.approx(taken, abs=0.05)


def test_another_session_is_not_counted() -> None:
    with running("print(1, flush=True)\nimport sys\nsys.stdin.read()", lines=1) as idle:
        with running(TREE, lines=2):
            pass
        assert cpu_seconds(idle.pid) < 0.39


def test_memory_is_that_of_every_process() -> None:
    with running(TREE, lines=2) as process:
        assert memory_kib(process.pid) > 32 * 1024


def test_a_session_that_is_gone_takes_nothing() -> None:
    with running("print(1, flush=True)", lines=1) as process:
        pass
    assert processes_of(process.pid) == []
    assert cpu_seconds(process.pid) == memory_kib(process.pid) == 0


def test_a_connection_belongs_to_the_process_that_holds_it() -> None:
    program = (
        "import socket, sys\n"
        "connection = socket.create_connection(('127.0.0.1', int(sys.stdin.readline())))\n"
        "print(connection.getsockname()[1], flush=True)\nsys.stdin.read()\n"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{listener.getsockname()[1]}\n")
        process.stdin.flush()
        port = int(process.stdout.readline())
        assert owners([process.pid, threading.get_native_id()], [port, 1]) == {port: process.pid}
    finally:
        process.communicate(timeout=20)
        listener.close()
