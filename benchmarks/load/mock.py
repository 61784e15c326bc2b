"""The mock upstream as a process: started on a port that it picks, told how to stream, asked who has called."""

import http.client
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 10


@dataclass(frozen=True)
class Caller:
    """One open connection to the mock: the port of its other side, and how many requests it has carried."""

    port: int
    requests: int


class MockUpstream:
    """A context in which the mock runs. It inherits the cores of the caller."""

    def __init__(self, program: Path, names: Sequence[str]) -> None:
        self._command = [str(program), *names]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        said = self._process.stdout.readline() if self._process.stdout else ""
        if not said.strip().isdigit():
            self.__exit__()
            raise RuntimeError("the mock upstream did not start")
        self.port = int(said)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def url(self) -> str:
        """Its root, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    def stream(self, *, chunks: int, interval_s: float) -> None:
        """How streams that begin from now on go: the first chunk at once, then one each interval."""
        self._get(f"/__behaviour?chunks={chunks}&interval_us={round(interval_s * 1e6)}")

    def callers(self) -> list[Caller]:
        """Every open connection but the one that asks."""
        return [Caller(**row) for row in self._get("/__connections")]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
