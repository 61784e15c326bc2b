import os
import sys
from pathlib import Path

import pytest

from benchmarks.gateways.base import Launch
from benchmarks.gateways.process import GatewayFault, GatewayProcess
from benchmarks.gateways.session import processes_of

# Answers 503 once and then 200, in a server whose child outlives a gentle end.
SERVER = """
import http.server, os, signal, sys

if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setpgid(0, 0)
    while True:
        signal.pause()

class Handler(http.server.BaseHTTPRequestHandler):
    seen = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.headers["x-name"])
        status = 503 if len(self.seen) == 1 else 200
        body = f"{self.seen} {self.path} {os.sched_getaffinity(0)}".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        print("asked", self.path, "by", self.headers["x-name"], flush=True)

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(port: int) -> Launch:
    return Launch((sys.executable, "-c", SERVER, str(port)), path="/ask", headers=("x-name: value: with colon",))


def test_it_has_started_when_it_answers_and_leaves_nothing_behind(tmp_path: Path, unused_port: int) -> None:
    core = min(os.sched_getaffinity(0))
    with GatewayProcess(server(unused_port), unused_port, {core}, tmp_path) as process:
        assert process.wait_for_answer() > 0
        assert len(process.processes()) == 2
        assert process.cpu_s() > 0
        assert process.memory_kib() > 1000
        assert os.sched_getaffinity(process.session) == {core}
        assert "asked /ask by value: with colon" in process.last_words()
    assert processes_of(process.session, alive=True) == []


def test_one_that_ends_says_its_last_words(tmp_path: Path, unused_port: int) -> None:
    launch = Launch((sys.executable, "-c", "raise SystemExit('no such option')"))
    with (
        GatewayProcess(launch, unused_port, os.sched_getaffinity(0), tmp_path) as process,
        pytest.raises(GatewayFault, match="ended with status 1; its last words: no such option"),
    ):
        process.wait_for_answer()


def test_one_that_never_answers_is_given_up(tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gateways.process.START_TIMEOUT_S", 0.2)
    launch = Launch((sys.executable, "-c", "import time\ntime.sleep(60)"))
    with (
        GatewayProcess(launch, unused_port, os.sched_getaffinity(0), tmp_path) as process,
        pytest.raises(GatewayFault, match="no answer within"),
    ):
        process.wait_for_answer()
    assert processes_of(process.session, alive=True) == []


def test_a_port_that_the_gateway_picks_is_read_from_its_file(tmp_path: Path) -> None:
    launch = Launch((sys.executable, "-c", "import time\ntime.sleep(60)"), port_file=tmp_path / "port")
    with GatewayProcess(launch, 1, os.sched_getaffinity(0), tmp_path) as process:
        assert process.port == 0
        (tmp_path / "port").write_text("4321")
        assert process.port == 4321


def test_nothing_of_this_shell_reaches_it(tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    program = "import os\nprint(sorted(os.environ))\nraise SystemExit(3)"
    launch = Launch((sys.executable, "-c", program), environment={"GIVEN": "1"})
    with GatewayProcess(launch, unused_port, os.sched_getaffinity(0), tmp_path) as process:
        with pytest.raises(GatewayFault, match="'GIVEN'"):
            process.wait_for_answer()
        assert "HTTP_PROXY" not in process.last_words()
