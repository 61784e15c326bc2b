"""The gateway beside its peers, on this machine: a section of docs/results.md.

    python -m benchmarks.gateway [--peers quick|all|NAME,NAME] [--rounds N] [--seconds S] [--record]

Installs what is missing of the peers into .cache/benchmarks/gateways, from package registries, then measures every
gateway in interleaved rounds (benchmarks/gateway_visits.py says how) and prints the tables; --record writes them to the
page as well. `quick` is ours, nginx, the Rust routers and the bare relays, in under ten minutes; `all` adds those that
are slow to install or to start. Names measure those alone.

All traffic stays on 127.0.0.1, and every run of the load is bounded in time. Ours needs the default router in
build/router (`make router`). Leaves out: TLS, HTTP/2, networks, GPUs, and what a model does, for which
benchmarks/real_vllm.py is.
"""

import argparse
import contextlib
import datetime
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.gateway_figures import Round, figures
from benchmarks.gateway_sections import Row, render
from benchmarks.gateway_visits import Bench, Idle, Visit, visit, visit_directly, visit_idle
from benchmarks.gateways.base import MOCK_MODEL, Gateway
from benchmarks.gateways.installation import InstallationError
from benchmarks.gateways.redis_server import RedisServer
from benchmarks.gateways.registry import UnknownGatewayError, chosen
from benchmarks.load.mock import MockUpstream
from benchmarks.load.programs import BuildError, build_programs
from benchmarks.report import provenance, write_section
from deploy.demo.stop_signals import Stopped, StopSignals

CACHE = Path(".cache/benchmarks")
CORES = 2
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and record if asked to."""
    args = _parser().parse_args(arguments)
    try:
        return _run(args, chosen(args.peers))
    except (BuildError, UnknownGatewayError) as error:
        print(f"benchmarks.gateway: {error}", file=sys.stderr)
        return 2
    except Stopped:
        return 130


def _run(args: argparse.Namespace, gateways: Sequence[Gateway]) -> int:
    StopSignals()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < CORES:
        print(f"benchmarks.gateway: needs {CORES} cores, has {len(cores)}", file=sys.stderr)
        return 2
    origin = provenance(f"python -m benchmarks.gateway --peers {args.peers}")
    began, load = time.monotonic(), os.getloadavg()[0]
    programs = build_programs(CACHE / "load")
    faults = install(gateways)
    ready = [gateway for gateway in gateways if gateway.name not in faults]
    os.sched_setaffinity(0, {cores[0]})
    with MockUpstream(programs.mock_upstream, [MOCK_MODEL]) as mock, RedisServer(free_port(), CACHE) as redis:
        bench = Bench(
            programs=programs,
            mock=mock,
            redis_url=redis.url,
            scratch=CACHE / "scratch",
            installations=CACHE / "gateways",
            load_core=cores[0],
            gateway_core=cores[1],
            seconds=args.seconds,
        )
        rounds = [measure_round(bench, ready, number, args.rounds) for number in range(args.rounds)]
        idle = measure_idle(bench, ready)
    rows = [row(gateway, rounds, idle, faults) for gateway in gateways]
    origin = f"{origin} It took {time.monotonic() - began:.0f} s."
    section = render(rows, origin, rounds=args.rounds, seconds=args.seconds, load=load)
    print(section)
    if args.record:
        write_section(args.results, "gateway", section)
        print(f"wrote the section gateway of {args.results}")
    return 0


def install(gateways: Sequence[Gateway]) -> dict[str, str]:
    """Install what is missing; by name, why a gateway could not be."""
    faults: dict[str, str] = {}
    for gateway in gateways:
        try:
            say(f"installing {gateway.name} unless it is here")
            gateway.installation.ensure((CACHE / "gateways" / gateway.installs_as).resolve())
        except InstallationError as error:
            faults[gateway.name] = f"not installed: {error}"
            say(f"  {faults[gateway.name]}")
    return faults


def measure_round(bench: Bench, gateways: Sequence[Gateway], number: int, rounds: int) -> Round:
    """Visit every gateway once, and the mock directly, beginning with another one each round."""
    tasks: list[Callable[[], Visit]] = [lambda: visit_directly(bench)]
    tasks += [lambda gateway=gateway: visit(bench, gateway, free_port()) for gateway in gateways]  # type: ignore[misc]
    found: dict[str, Visit] = {}
    for task in rotated(tasks, number, rounds):
        one = task()
        found[one.name] = one
        say(f"round {number + 1} of {rounds}: {one.name} {one.fault or 'measured'}")
    return found


def measure_idle(bench: Bench, gateways: Sequence[Gateway]) -> dict[str, Idle]:
    """Idle streams of every gateway that streams."""
    found = {}
    for gateway in gateways:
        if gateway.is_streamed:
            found[gateway.name] = visit_idle(bench, gateway, free_port())
            say(f"idle streams: {gateway.name} {found[gateway.name].fault or 'measured'}")
    return found


def rotated(items: Sequence[T], number: int, rounds: int) -> list[T]:
    """The items from another one on in each round, spread over all of them."""
    start = number * len(items) // rounds
    return [*items[start:], *items[:start]]


def row(gateway: Gateway, rounds: Sequence[Round], idle: dict[str, Idle], faults: dict[str, str]) -> Row:
    """A gateway's line in the tables."""
    if gateway.name in faults:
        missing = Visit(gateway.name, fault=faults[gateway.name])
        return Row(gateway, figures(gateway.name, [{gateway.name: missing}], None))
    folder = (CACHE / "gateways" / gateway.installs_as).resolve()
    found = figures(gateway.name, rounds, idle.get(gateway.name))
    return Row(gateway, found, gateway.installation.version(folder), gateway.installation.size_mb(folder))


def free_port() -> int:
    """A port that nobody listens on, and nobody on the next one."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            next_one.bind(("127.0.0.1", port + 1))
            return port


def say(line: str) -> None:
    """Progress, at once and with the time of day."""
    print(f"{datetime.datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--peers", default="quick", help="quick, all, or names with commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="write the section of docs/results.md")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
