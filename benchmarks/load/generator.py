"""Runs the load generator and reads its result: a closed loop for some seconds, or streams that are held open."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBER = "%" * 10
"""In a body: replaced by a number that no other request has, so that the ask is new."""
# Longest that the generator waits for answers under way, and what it needs to start and to print.
DRAIN_S = 25
OPENING_S = 40


class LoadError(Exception):
    """The generator did not give a result; the message holds its last words."""


@dataclass(frozen=True)
class Target:
    """Where the load goes and what it sends."""

    port: int
    bodies: Path
    path: str = "/v1/chat/completions"
    headers: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """For the generator."""
        headers = [word for header in self.headers for word in ("--header", header)]
        return ["--port", str(self.port), "--body", str(self.bodies), "--path", self.path, *headers]


@dataclass(frozen=True)
class Quantiles:
    """Of `count` timings, in seconds."""

    count: int
    p50_s: float
    p99_s: float

    @classmethod
    def read(cls, found: Mapping[str, int] | None) -> "Quantiles | None":
        """From microseconds, None where nothing was timed."""
        return None if found is None else cls(found["count"], found["p50"] / 1e6, found["p99"] / 1e6)


@dataclass(frozen=True)
class LoadResult:
    """What one run of the generator saw. `answers` are whole ones with status 200; all else is an error."""

    answers: int
    answers_per_s: float
    latency: Quantiles | None
    first_byte: Quantiles | None
    gap: Quantiles | None
    events: int
    reconnects: int
    errors: int
    first_error: str
    elapsed_s: float

    @classmethod
    def read(cls, line: str) -> "LoadResult":
        """From the generator's JSON."""
        found: dict[str, Any] = json.loads(line)
        for name in ("latency", "first_byte", "gap"):
            found[name] = Quantiles.read(found.pop(f"{name}_us"))
        return cls(**found)


def run_load(
    program: Path, target: Target, *, concurrency: int, seconds: float, requests: int | None = None
) -> LoadResult:
    """A closed loop for `seconds`, or until so many requests were sent. Raises LoadError."""
    limit = [] if requests is None else ["--requests", str(requests)]
    words = ["--concurrency", str(concurrency), "--seconds", f"{seconds:g}", *limit]
    try:
        done = subprocess.run(
            [program, *target.arguments(), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + DRAIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load generator did not end within {seconds + DRAIN_S:.0f} s") from error
    if done.returncode != 0:
        raise LoadError(f"the load generator ended with {done.returncode}: {done.stderr.strip()}")
    return LoadResult.read(done.stdout)


@contextmanager
def held_streams(program: Path, target: Target, *, streams: int) -> Iterator[Callable[[], int]]:
    """Streams that are open inside, each with its first event behind it. Raises LoadError.

    Gives a function that waits until all are, or will not be, and says how many were.
    """
    words: Sequence[str | Path] = [program, *target.arguments(), "--idle-streams", str(streams)]
    process = subprocess.Popen(
        [*words, "--seconds", str(OPENING_S)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def held() -> int:
        said = process.stdout.readline() if process.stdout else ""
        if not said:
            raise LoadError("the load generator ended before it held a stream")
        return int(json.loads(said)["held"])

    try:
        yield held
    finally:
        try:
            process.communicate(timeout=DRAIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
