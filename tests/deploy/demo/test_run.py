"""The demo's program, with the real gateway and the committed bundle; a mock stands for the engine."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.run import QUERIES, DemoError, check_port, free_port, read_queries
from tests.support.mock_vllm import MockVllm

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 400


@contextlib.contextmanager
def running_demo(mock: MockVllm, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "deploy.demo.run", "--engine-url", f"http://127.0.0.1:{mock.port}", *arguments]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield demo
    finally:
        demo.terminate()
        demo.communicate(timeout=TIMEOUT_S)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gateways_of(port: int) -> list[str]:
    """Command lines of every running process that was given this port."""
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in commands if f"--port {port}" in command]


def wait_for(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return
    pytest.fail(f"the demo ended before it said {words!r}")


def test_once_answers_every_query_by_at_least_three_models_and_ends(mock_vllm: MockVllm) -> None:
    port = free_port()
    with running_demo(mock_vllm, "--port", str(port), "--once") as demo:
        output, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, output + errors
    asked = [seen["body"] for seen in mock_vllm.seen() if seen["path"] == "/v1/chat/completions"]
    assert len(asked) == len(read_queries(QUERIES)) >= 12
    assert "answered by: " in output
    assert "(default)" not in output
    assert not is_listening(port)


def test_it_keeps_serving_until_it_is_told_to_stop(mock_vllm: MockVllm, tmp_path: Path) -> None:
    port = free_port()
    queries = tmp_path / "queries.txt"
    queries.write_text("# one is enough\nWhat is 2 + 2?\n")
    with running_demo(mock_vllm, "--port", str(port), "--queries", str(queries)) as demo:
        wait_for(demo, "Ctrl-C stops everything")
        assert is_listening(port)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(TIMEOUT_S) == 0
        assert not is_listening(port)


def test_stopped_while_the_gateway_loads_it_leaves_nothing_behind(mock_vllm: MockVllm) -> None:
    port = free_port()
    with running_demo(mock_vllm, "--port", str(port)) as demo:
        wait_for(demo, "starting the gateway")
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(TIMEOUT_S) == 130
    assert gateways_of(port) == []


def test_a_failing_model_fails_the_demo_in_one_line(mock_vllm: MockVllm) -> None:
    mock_vllm.behave(status=400)
    with running_demo(mock_vllm, "--port", str(free_port()), "--once") as demo:
        _, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 1
    assert errors.startswith("make demo: no answer to ")


def test_a_taken_port_is_named_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port} is taken: .*PORT="):
            check_port(port)


def test_a_query_file_is_one_query_a_line_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("# a comment\n\n  What is 2 + 2?  \nSort 3, 1.\n")
    assert read_queries(file) == ["What is 2 + 2?", "Sort 3, 1."]


@pytest.mark.parametrize("content", ["", "# only a comment\n"])
def test_an_empty_query_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "queries.txt"
    file.write_text(content)
    with pytest.raises(DemoError, match="holds no query"):
        read_queries(file)
