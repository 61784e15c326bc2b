"""Measures one gateway at a time: a visit of a few seconds under every load, and the streams that it holds idle.

What is counted is CPU time of the gateway's process tree over what the load generator has got from it in the same
seconds, so that a slow neighbour disturbs it least. The load, the mock and this program share one core, the gateway has
the other; only a gateway with two workers has both.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.gateways.base import ASK, Gateway, Launch, Place
from benchmarks.gateways.installation import InstallationError
from benchmarks.gateways.process import GatewayFault, GatewayProcess, chat_body
from benchmarks.gateways.session import owners
from benchmarks.load.generator import NUMBER, LoadError, LoadResult, Quantiles, Target, held_streams, run_load
from benchmarks.load.mock import Caller, MockUpstream
from benchmarks.load.programs import Programs

CONCURRENCIES: Final = (1, 16, 64, 256)
BUSY: Final = 64
"""The concurrency at which targets are set; as many streams run at once."""
CHUNKS, CHUNK_INTERVAL_S = 64, 0.010
# Few chunks far apart: many first bytes, and a gateway that holds the first chunk back until the second one shows it.
FIRST_BYTE_CHUNKS, FIRST_BYTE_INTERVAL_S = 2, 0.010
WARM_UP_S = 0.4
REPEATED_ASKS = 16
IDLE_STREAMS, IDLE_REPEATS = 1000, 3
# Rare enough to be idle, often enough that a gateway which notices by writing that its client left does so.
IDLE_CHUNKS, IDLE_INTERVAL_S = 1000, 15.0
SETTLE_TIMEOUT_S = 20.0
DIRECT = "direct"


@dataclass(frozen=True)
class Load:
    """One closed loop against a gateway. `cpu_s` is None where nothing but the mock was asked."""

    result: LoadResult
    cpu_s: float | None

    @property
    def cpu_us_per_answer(self) -> float | None:
        """CPU microseconds of the gateway for each answer."""
        return self._us_per(self.result.answers)

    @property
    def cpu_us_per_event(self) -> float | None:
        """CPU microseconds of the gateway for each server-sent event."""
        return self._us_per(self.result.events)

    def _us_per(self, count: int) -> float | None:
        return None if self.cpu_s is None or count == 0 else self.cpu_s * 1e6 / count


@dataclass(frozen=True)
class Visit:
    """What one gateway did in one round; what was not measured is None. A fault ends a visit early."""

    name: str
    start_s: float | None = None
    memory_mib: float | None = None
    requests: Mapping[int, Load] = field(default_factory=dict)
    streams: Load | None = None
    first_byte: Load | None = None
    worker_shares: tuple[float, ...] = ()
    """Of the answers at BUSY, by worker process, least first."""
    fault: str = ""


@dataclass(frozen=True)
class Idle:
    """KiB per idle stream in each repeat, against the memory before the first one."""

    name: str
    kib_per_stream: tuple[float, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Bench:
    """What every visit needs."""

    programs: Programs
    mock: MockUpstream
    redis_url: str
    scratch: Path
    installations: Path
    gateway_core: int
    load_core: int
    seconds: float

    def cores(self, gateway: Gateway) -> set[int]:
        """Where the gateway runs."""
        return {self.gateway_core, self.load_core} if gateway.workers > 1 else {self.gateway_core}

    def place(self, gateway: Gateway, port: int) -> Place:
        """Where it is started, its scratch folder empty."""
        scratch = (self.scratch / gateway.name).resolve()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        installed = (self.installations / gateway.installs_as).resolve()
        return Place(installed, scratch, port, self.mock.url, self.redis_url)


@dataclass(frozen=True)
class Bodies:
    """Files with the request bodies for one gateway."""

    plain: Path
    streamed: Path

    @classmethod
    def written(cls, folder: Path, model: str, *, repeated: bool) -> "Bodies":
        """Asks that are new each time, or a few that come again and again."""
        asks = [f"{ASK} Case {n:010d}." for n in range(REPEATED_ASKS)] if repeated else [f"{ASK} Case {NUMBER}."]
        paths = []
        for name, stream in (("plain", False), ("streamed", True)):
            path = folder / f"bodies-{name}.jsonl"
            path.write_text("".join(json.dumps(chat_body(model, ask, stream=stream)) + "\n" for ask in asks))
            paths.append(path)
        return cls(*paths)


def visit(bench: Bench, gateway: Gateway, port: int) -> Visit:
    """Start it, load it in every way, stop it."""
    try:
        place = bench.place(gateway, port)
        launch = gateway.launch(place)
        bodies = Bodies.written(place.scratch, launch.model, repeated=gateway.asks == "repeated")
        with GatewayProcess(launch, port, bench.cores(gateway), place.scratch) as process:
            return _visited(bench, gateway, launch, bodies, process)
    except (InstallationError, GatewayFault, LoadError) as error:
        return Visit(gateway.name, fault=str(error))


def visit_directly(bench: Bench) -> Visit:
    """The mock itself under the same loads, which is what latencies are compared with."""
    folder = bench.scratch / DIRECT
    folder.mkdir(parents=True, exist_ok=True)
    bodies = Bodies.written(folder, "mock", repeated=False)
    return Visit(
        DIRECT,
        requests={count: _load(bench, _target(bench.mock.port, bodies.plain), count) for count in CONCURRENCIES},
        streams=_streams(bench, _target(bench.mock.port, bodies.streamed)),
        first_byte=_first_bytes(bench, _target(bench.mock.port, bodies.streamed)),
    )


def _visited(bench: Bench, gateway: Gateway, launch: Launch, bodies: Bodies, process: GatewayProcess) -> Visit:
    start_s = process.wait_for_answer()
    memory_mib = process.memory_kib() / 1024
    plain, streamed = (_target(process.port, body, launch) for body in (bodies.plain, bodies.streamed))
    run_load(bench.programs.load_generator, plain, concurrency=BUSY, seconds=WARM_UP_S)
    requests, shares = {}, ()
    for concurrency in CONCURRENCIES:
        before = bench.mock.callers()
        requests[concurrency] = _load(bench, plain, concurrency, process)
        if gateway.workers > 1 and concurrency == BUSY:
            shares = worker_shares(before, bench.mock.callers(), process.processes())
    found = Visit(gateway.name, start_s, memory_mib, requests, worker_shares=shares)
    if not gateway.is_streamed:
        return found
    streams, first_byte = _streams(bench, streamed, process), _first_bytes(bench, streamed, process)
    return Visit(gateway.name, start_s, memory_mib, requests, streams, first_byte, shares)


def _target(port: int, bodies: Path, launch: Launch | None = None) -> Target:
    return Target(port, bodies) if launch is None else Target(port, bodies, launch.path, launch.headers)


def _load(bench: Bench, target: Target, concurrency: int, process: GatewayProcess | None = None) -> Load:
    before = None if process is None else process.cpu_s()
    result = run_load(bench.programs.load_generator, target, concurrency=concurrency, seconds=bench.seconds)
    if process is None or before is None:
        return Load(result, None)
    process.check_alive()
    return Load(result, process.cpu_s() - before)


def _streams(bench: Bench, target: Target, process: GatewayProcess | None = None) -> Load:
    bench.mock.stream(chunks=CHUNKS, interval_s=CHUNK_INTERVAL_S)
    return _load(bench, target, BUSY, process)


def _first_bytes(bench: Bench, target: Target, process: GatewayProcess | None = None) -> Load:
    bench.mock.stream(chunks=FIRST_BYTE_CHUNKS, interval_s=FIRST_BYTE_INTERVAL_S)
    return _load(bench, target, 1, process)


def worker_shares(before: Sequence[Caller], after: Sequence[Caller], processes: Sequence[int]) -> tuple[float, ...]:
    """Each process's share of the requests that reached the upstream between two looks, least first.

    Only processes that sent some are listed. Requests of connections that are gone again are nobody's.
    """
    earlier = {caller.port: caller.requests for caller in before}
    owner = owners(processes, [caller.port for caller in after])
    sent: Counter[int] = Counter()
    for caller in after:
        if caller.port in owner:
            sent[owner[caller.port]] += caller.requests - earlier.get(caller.port, 0)
    total = sent.total()
    return tuple(sorted(count / total for count in sent.values() if count)) if total else ()


def visit_idle(bench: Bench, gateway: Gateway, port: int) -> Idle:
    """Hold many streams that say nothing, several times over, in one process."""
    try:
        place = bench.place(gateway, port)
        launch = gateway.launch(place)
        bodies = Bodies.written(place.scratch, launch.model, repeated=False)
        with GatewayProcess(launch, port, bench.cores(gateway), place.scratch) as process:
            process.wait_for_answer()
            return Idle(gateway.name, _held(bench, process, _target(process.port, bodies.streamed, launch)))
    except (InstallationError, GatewayFault, LoadError) as error:
        return Idle(gateway.name, fault=str(error))


def _held(bench: Bench, process: GatewayProcess, target: Target) -> tuple[float, ...]:
    bench.mock.stream(chunks=2, interval_s=0.001)
    run_load(bench.programs.load_generator, target, concurrency=BUSY, seconds=5, requests=4 * BUSY)
    before = process.memory_kib()
    connections = len(bench.mock.callers())
    bench.mock.stream(chunks=IDLE_CHUNKS, interval_s=IDLE_INTERVAL_S)
    found = []
    for _ in range(IDLE_REPEATS):
        with held_streams(bench.programs.load_generator, target, streams=IDLE_STREAMS) as held:
            count = held()
            process.check_alive()
            if count < IDLE_STREAMS:
                raise LoadError(f"only {count} of {IDLE_STREAMS} streams had their first event in time")
            found.append((process.memory_kib() - before) / IDLE_STREAMS)
        _wait_until_hung_up(bench.mock, connections)
    return tuple(found)


def _wait_until_hung_up(mock: MockUpstream, connections: int) -> None:
    """Until the gateway has let go of the streams whose clients left, or keeps them for too long to wait for."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while len(mock.callers()) > connections + BUSY and time.monotonic() < deadline:
        time.sleep(0.05)


def quantiles(load: Load | None, name: str) -> Quantiles | None:
    """One of a load's timings, None where there are none."""
    found: Quantiles | None = None if load is None else getattr(load.result, name)
    return found
