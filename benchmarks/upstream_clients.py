"""HTTP clients for the gateway's side towards the models: ours beside those that could stand in for it.

    python -m benchmarks.upstream_clients [--clients NAME,NAME] [--rounds N] [--seconds S] [--record]

Installs what is missing into .cache/benchmarks/upstream_clients, from the package index, then measures every client in
interleaved rounds, each visit in a process of its own (benchmarks/upstream_client_visit.py) on one core and the mock
upstream on another. Prints the section; --record writes it to the page. A maintained library that comes within
NEAR_ENOUGH of ours would take its place: the section says whether one does. Takes about two minutes.

Leaves out: TLS, HTTP/2, networks, latency (docs/results.md has the whole gateway's), memory.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.gateway import CACHE, CORES, rotated, say
from benchmarks.gateways.installation import InstallationError, PythonPackages
from benchmarks.load.mock import MockUpstream
from benchmarks.load.programs import BuildError, build_programs
from benchmarks.paired import listed, paragraph, table
from benchmarks.report import provenance, write_section
from benchmarks.upstream_client_visit import CLIENTS, CONCURRENCIES, STREAMS

NEAR_ENOUGH = 1.3
CHUNKS = 64
CHUNK_INTERVAL_S = 0.01
# Every library and what our client needs, in one environment, so that all run on the same event loop.
LIBRARIES = ("aiohttp", "httpcore", "httptools", "httpx", "niquests", "pycurl", "pyreqwest")
ENVIRONMENT = PythonPackages((*LIBRARIES, "msgspec", "pydantic", "pyyaml", "uvloop"))
VISIT_TIMEOUT_S = 120


@dataclass(frozen=True)
class Row:
    """One client: microseconds of CPU time, medians over the rounds, or why there are none."""

    name: str
    version: str
    by_concurrency: tuple[float, ...] = ()
    by_chunk: float = 0.0
    fault: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and record if asked to."""
    args = _parser().parse_args(arguments)
    names, cores = args.clients.split(",") if args.clients else list(CLIENTS), sorted(os.sched_getaffinity(0))
    unknown = sorted(set(names) - set(CLIENTS))
    if unknown or len(cores) < CORES:
        wrong = f"no client {listed(unknown)}; there are {listed(list(CLIENTS))}" if unknown else f"needs {CORES} cores"
        print(f"benchmarks.upstream_clients: {wrong}", file=sys.stderr)
        return 2
    origin, load, began = provenance("python -m benchmarks.upstream_clients"), os.getloadavg()[0], time.monotonic()
    folder = (CACHE / "upstream_clients").resolve()
    try:
        programs = build_programs(CACHE / "load")
        ENVIRONMENT.ensure(folder)
    except (BuildError, InstallationError) as error:
        print(f"benchmarks.upstream_clients: {error}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {cores[0]})
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        mock.stream(chunks=CHUNKS, interval_s=CHUNK_INTERVAL_S)
        rounds = [
            measure_round(rotated(names, number, args.rounds), folder / "bin" / "python", mock.port, cores[1], args)
            for number in range(args.rounds)
        ]
    rows = [row(name, version_of(name, folder), [found[name] for found in rounds]) for name in names]
    origin = f"{origin} It took {time.monotonic() - began:.0f} s; load average before it began: {load:.2f}."
    section = render(rows, origin, rounds=args.rounds, seconds=args.seconds)
    print(section)
    if args.record:
        write_section(args.results, "upstream_clients", section)
        print(f"wrote the section upstream_clients of {args.results}")
    return 0


def measure_round(
    names: Sequence[str], python: Path, port: int, core: int, args: argparse.Namespace
) -> dict[str, dict[str, float] | str]:
    """Visit every client once; by name, what was measured or what went wrong."""
    found: dict[str, dict[str, float] | str] = {}
    for name in names:
        command = [str(python), "-m", "benchmarks.upstream_client_visit", name, str(port)]
        command += ["--seconds", str(args.seconds), "--chunks", str(CHUNKS)]
        found[name] = measured(["taskset", "-c", str(core), *command])
        say(f"{name}: {found[name]}")
    return found


def measured(command: Sequence[str]) -> dict[str, float] | str:
    """What the command prints, or the last line of its error."""
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parents[1])}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=VISIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done after {VISIT_TIMEOUT_S} s"
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no word"])[-1]
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def version_of(name: str, folder: Path) -> str:
    """The version of a library in the environment; ours is that of this commit."""
    return "this commit" if name == "ours" else PythonPackages((name,)).version(folder)


def row(name: str, version: str, visits: Sequence[dict[str, float] | str]) -> Row:
    """A client's line: medians over its visits, or the first fault of one."""
    figures = [visit for visit in visits if not isinstance(visit, str)]
    for visit in visits:
        if isinstance(visit, str):
            return Row(name, version, fault=visit)

    def middle(key: str) -> float:
        return median(visit[key] for visit in figures)

    return Row(name, version, tuple(middle(f"c{concurrency}") for concurrency in CONCURRENCIES), middle("chunk"))


def render(rows: Sequence[Row], origin: str, *, rounds: int, seconds: float) -> str:
    """The section as Markdown."""
    method = (
        f"Microseconds of CPU time of a process that does nothing but ask (all its threads), median of {rounds} "
        f"interleaved rounds of {seconds:g} s each, on uvloop, client and mock upstream on a core each: by request of "
        f"some 400 bytes at {listed([str(concurrency) for concurrency in CONCURRENCIES])} at once, and by chunk of "
        f"{STREAMS} streams at once of {CHUNKS} chunks, one each {1000 * CHUNK_INTERVAL_S:g} ms, with the request's "
        "own cost spread over them. Deadlines are what each sets by itself; ours has all of them, aiohttp one to "
        "connect. pycurl hands bytes to a callback and wakes no task for them."
    )
    header = ["client", "version", *(f"c={concurrency}" for concurrency in CONCURRENCIES), "chunk", "times ours, c=64"]
    by_name = {row.name: row for row in rows}
    parts = [
        "## HTTP clients towards the models",
        origin,
        paragraph(method),
        table(header, [_cells(row, by_name.get("ours")) for row in rows]),
        paragraph(verdict(by_name)),
    ]
    return "\n\n".join(parts)


def verdict(rows: Mapping[str, Row]) -> str:
    """Whether a library is near enough to take the place of ours, by requests at the highest concurrency."""
    if "ours" not in rows or rows["ours"].fault:
        return "Ours was not measured, so nothing can be said of it."
    limit = NEAR_ENOUGH * rows["ours"].by_concurrency[-1]
    near = [row.name for row in rows.values() if row.name != "ours" and not row.fault and _busy(row) <= limit]
    said = f"{listed(near)} should take its place" if near else "none does, so ours stays"
    return (
        f"A maintained library within {NEAR_ENOUGH:g} times ours at c={CONCURRENCIES[-1]} would take its place: {said}."
    )


def _busy(row: Row) -> float:
    return row.by_concurrency[-1]


def _cells(row: Row, ours: Row | None) -> list[str]:
    if row.fault:
        return [row.name, row.version, f"not measured: {row.fault}", *[""] * (len(CONCURRENCIES) + 1)]
    times = "-" if ours is None or ours.fault else f"{_busy(row) / _busy(ours):.1f}"
    return [row.name, row.version, *(f"{cost:.1f}" for cost in row.by_concurrency), f"{row.by_chunk:.1f}", times]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--clients", default="", help="names with commas (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="write the section of docs/results.md")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
