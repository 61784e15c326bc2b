"""From visits to figures: the median over rounds, latencies as what a gateway adds to a direct call of its round."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.gateway_visits import CONCURRENCIES, DIRECT, Idle, Load, Visit, quantiles

Round = Mapping[str, Visit]
"""The visits of one round by name, the direct one among them."""


@dataclass(frozen=True)
class Figures:
    """Of one gateway; what could not be measured is None or absent."""

    name: str
    cpu_us: Mapping[int, float] = field(default_factory=dict)
    """By concurrency, as the three below."""
    answers_per_s: Mapping[int, float] = field(default_factory=dict)
    added_p50_ms: Mapping[int, float] = field(default_factory=dict)
    added_p99_ms: Mapping[int, float] = field(default_factory=dict)
    cpu_us_per_chunk: float | None = None
    chunks_per_s: float | None = None
    gap_p99_ms: float | None = None
    added_first_byte_p50_ms: float | None = None
    added_first_byte_p99_ms: float | None = None
    kib_per_stream: tuple[float, ...] = ()
    start_s: float | None = None
    memory_mib: float | None = None
    least_share: float | None = None
    faults: tuple[str, ...] = ()


def figures(name: str, rounds: Sequence[Round], idle: Idle | None) -> Figures:
    """The figures of one gateway."""
    visits = [visits[name] for visits in rounds if name in visits]
    pairs = [(visits[name], visits[DIRECT]) for visits in rounds if name in visits and DIRECT in visits]
    return Figures(
        name=name,
        cpu_us=_by_concurrency(lambda count: median(_cpu(visit.requests.get(count)) for visit in visits)),
        answers_per_s=_by_concurrency(lambda count: median(_rate(visit.requests.get(count)) for visit in visits)),
        added_p50_ms=_by_concurrency(lambda count: _added(pairs, lambda v: v.requests.get(count), "latency", "p50_s")),
        added_p99_ms=_by_concurrency(lambda count: _added(pairs, lambda v: v.requests.get(count), "latency", "p99_s")),
        cpu_us_per_chunk=median(visit.streams.cpu_us_per_event for visit in visits if visit.streams),
        chunks_per_s=median(_events_per_s(visit.streams) for visit in visits),
        gap_p99_ms=median(_milliseconds(visit.streams, "gap", "p99_s") for visit in visits),
        added_first_byte_p50_ms=_added(pairs, lambda visit: visit.first_byte, "first_byte", "p50_s"),
        added_first_byte_p99_ms=_added(pairs, lambda visit: visit.first_byte, "first_byte", "p99_s"),
        kib_per_stream=() if idle is None else idle.kib_per_stream,
        start_s=median(visit.start_s for visit in visits),
        memory_mib=median(visit.memory_mib for visit in visits),
        least_share=median(min(visit.worker_shares) for visit in visits if visit.worker_shares),
        faults=faults([*visits], idle),
    )


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def faults(visits: Sequence[Visit], idle: Idle | None) -> tuple[str, ...]:
    """What went wrong, each thing once: visits that failed, loads with errors, streams that were not held."""
    found = [visit.fault for visit in visits if visit.fault]
    loads: dict[str, list[Load]] = {}
    for visit in visits:
        named: dict[str, Load | None] = {f"{count} at once": load for count, load in visit.requests.items()}
        named |= {"paced streams": visit.streams, "single streams": visit.first_byte}
        for what, load in named.items():
            loads.setdefault(what, []).extend([load] if load is not None and load.result.errors else [])
    found += [_errors(what, failed) for what, failed in loads.items() if failed]
    if idle is not None and idle.fault:
        found.append(f"idle streams: {idle.fault}")
    return tuple(dict.fromkeys(found))


def _errors(what: str, loads: Sequence[Load]) -> str:
    errors = sum(load.result.errors for load in loads)
    share = 100 * errors / (errors + sum(load.result.answers for load in loads))
    return f"{what}: {share:.3g}% errors in {len(loads)} of the rounds, the first: {loads[0].result.first_error}"


def _by_concurrency(figure: Callable[[int], float | None]) -> dict[int, float]:
    found = {count: figure(count) for count in CONCURRENCIES}
    return {count: value for count, value in found.items() if value is not None}


def _cpu(load: Load | None) -> float | None:
    return None if load is None else load.cpu_us_per_answer


def _rate(load: Load | None) -> float | None:
    return load.result.answers_per_s if load is not None and load.result.answers else None


def _events_per_s(load: Load | None) -> float | None:
    return load.result.events / load.result.elapsed_s if load is not None and load.result.events else None


def _milliseconds(load: Load | None, timing: str, quantile: str) -> float | None:
    found = quantiles(load, timing)
    return None if found is None else float(getattr(found, quantile)) * 1e3


def _added(
    pairs: Sequence[tuple[Visit, Visit]], load_of: Callable[[Visit], Load | None], timing: str, quantile: str
) -> float | None:
    added = []
    for visit, direct in pairs:
        through, without = (_milliseconds(load_of(one), timing, quantile) for one in (visit, direct))
        added.append(None if through is None or without is None else through - without)
    return median(added)
