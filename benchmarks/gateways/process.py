"""A gateway as a process: on cores of its own, under limits, in a session of its own that ends with it.

It is awaited by asking it: what counts as started is the first answer with status 200. It does not outlive this
program: `stop` ends every process of its session, and the kernel ends its first one when this program dies. Its output
goes to `output.log` in its scratch folder.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.gateways.base import ASK, Launch
from benchmarks.gateways.session import cpu_seconds, memory_kib, processes_of

OPEN_FILES = 16384
# Of written memory; reserved address space, of which some runtimes take much, is free.
DATA_BYTES = 8 * 2**30
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 5
_ASK_AGAIN_S = 0.003
_ANSWER_TIMEOUT_S = 20
_LAST_WORDS = 300


class GatewayFault(Exception):  # noqa: N818 - the gateway's, not ours
    """A gateway did not start, or answered nothing; the message holds its last words."""


def chat_body(model: str, ask: str = ASK, *, stream: bool = False) -> dict[str, Any]:
    """The request that every gateway gets: about 400 bytes."""
    system = "You are an assistant that answers questions about geography in full sentences and without any greeting."
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": ask}],
        "temperature": 0.2,
        "max_tokens": 64,
    }
    return {**body, "stream": True} if stream else body


class GatewayProcess:
    """A context in which a gateway runs."""

    def __init__(self, launch: Launch, port: int, cores: Collection[int], scratch: Path) -> None:
        self._launch = launch
        self._port = port
        self._cores = cores
        self._log = scratch / "output.log"
        self._scratch = scratch

    def __enter__(self) -> Self:
        limits = ("prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", f"--data={DATA_BYTES}", "--core=0")
        pinned = ("taskset", "--cpu-list", ",".join(str(core) for core in sorted(self._cores)))
        # Executed one in the other, so that the process we start is the gateway.
        command = ("setpriv", "--pdeathsig", "KILL", *limits, *pinned, *self._launch.command)
        with self._log.open("wb") as log:
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                command,
                cwd=self._scratch,
                env=_environment(self._launch, self._scratch),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def session(self) -> int:
        """The session of its processes."""
        return self._process.pid

    @property
    def port(self) -> int:
        """Where it serves; for a gateway that picks its port, known once it has."""
        file = self._launch.port_file
        if file is None:
            return self._port
        return int(file.read_text()) if file.exists() else 0

    def wait_for_answer(self) -> float:
        """Seconds from its start to its first answer with status 200. Raises GatewayFault."""
        said = "nothing listens"
        while time.monotonic() < self._began + START_TIMEOUT_S:
            self.check_alive()
            try:
                status, text = self._ask()
            except (OSError, http.client.HTTPException) as error:
                said = str(error) or type(error).__name__
            else:
                if status == http.client.OK:
                    return time.monotonic() - self._began
                said = f"status {status}: {text}"
            time.sleep(_ASK_AGAIN_S)
        raise GatewayFault(f"no answer within {START_TIMEOUT_S} s ({said}); its last words: {self.last_words()}")

    def check_alive(self) -> None:
        """Raises GatewayFault when it has ended."""
        status = self._process.poll()
        if status is not None:
            raise GatewayFault(f"it ended with status {status}; its last words: {self.last_words()}")

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return cpu_seconds(self.session)

    def memory_kib(self) -> int:
        """Memory of all its processes, in KiB of PSS."""
        return memory_kib(self.session)

    def processes(self) -> list[int]:
        """Ids of its processes."""
        return processes_of(self.session)

    def stop(self) -> None:
        """End every process of its session, gently first."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (left := processes_of(self.session, alive=True)) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._process.poll()
            time.sleep(_ASK_AGAIN_S)
        self._process.wait()

    def last_words(self) -> str:
        """The end of its output, on one line."""
        text = self._log.read_text(errors="replace").strip()
        return " / ".join(line.strip() for line in text[-_LAST_WORDS:].splitlines() if line.strip()) or "none"

    def _ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_TIMEOUT_S)
        headers = dict(header.split(": ", 1) for header in self._launch.headers)
        try:
            body = json.dumps(chat_body(self._launch.model))
            connection.request("POST", self._launch.path, body, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()[:200].decode(errors="replace")
        finally:
            connection.close()


def _environment(launch: Launch, scratch: Path) -> dict[str, str]:
    """What a program needs to run, and nothing of this shell's: no proxies, no PYTHONPATH of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    # One thread for numerical libraries: there is one core.
    return {**kept, "HOME": str(scratch), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **launch.environment}
