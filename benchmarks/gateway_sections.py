"""The section of docs/results.md that benchmarks/gateway.py writes: tables and how to read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from benchmarks.gateway_figures import Figures
from benchmarks.gateway_targets import Run, judge, met
from benchmarks.gateway_visits import (
    BUSY,
    CHUNK_INTERVAL_S,
    CHUNKS,
    CONCURRENCIES,
    IDLE_REPEATS,
    IDLE_STREAMS,
)
from benchmarks.gateways.base import Features, Gateway
from benchmarks.paired import paragraph, table

NONE = "-"


@dataclass(frozen=True)
class Row:
    """One gateway of the tables. `version` and `install_mb` are absent where it could not be installed."""

    gateway: Gateway
    figures: Figures
    version: str = NONE
    install_mb: float | None = None


def render(rows: Sequence[Row], origin: str, *, rounds: int, seconds: float, load: float) -> str:
    """The section as Markdown. `load` is the load average before anything ran."""
    run = Run(
        {row.gateway.name: row.figures for row in rows},
        {row.gateway.name: row.install_mb for row in rows if row.install_mb is not None},
    )
    judgements = judge(run)
    lines = [[line.target, line.measured, line.verdict] for line in judgements]
    parts = [
        "## The gateway beside its peers",
        f"{origin} Load average before it began: {load:.2f}.",
        paragraph(method(rounds, seconds)),
        "### Requests: CPU and rate",
        requests_table(rows),
        "### Requests: added latency",
        latency_table(rows),
        "### Streams",
        streams_table(rows),
        "### Start, memory and size",
        size_table(rows),
        "### What was switched on",
        paragraph("Access logs are off everywhere, and so is our response cache. `-`: it has none, or it is off."),
        features_table(rows),
        *_faults(rows),
        "### Targets",
        table(("target", "measured", "met"), lines),
        paragraph(met(judgements)),
    ]
    return "\n\n".join(parts)


def method(rounds: int, seconds: float) -> str:
    """How it was measured."""
    return f"""
        Medians over {rounds} rounds; in each round every gateway is started anew, answers {seconds:g} s of each load
        and is stopped; the order rotates. The load generator and the mock upstream (C, benchmarks/load) share one core,
        the gateway has the other to itself, with one worker; two workers have both cores. Requests are closed-loop chat
        completions of about 400 bytes, each ask new unless the row says otherwise. CPU is that of the gateway's process
        tree, divided by the answers, or the events, that the generator received. Latencies are what a gateway adds to a
        direct call of the mock in the same round. Streams: {BUSY} at once, {CHUNKS} chunks each,
        {CHUNK_INTERVAL_S * 1e3:g} ms apart; first bytes at concurrency 1. Idle: growth of PSS per stream with
        {IDLE_STREAMS:,} streams held after their first chunk, {IDLE_REPEATS} times over in one process."""


def requests_table(rows: Sequence[Row]) -> str:
    """CPU microseconds per request, and requests per second, by concurrency."""
    header = [
        "gateway",
        *(f"CPU us, c={count}" for count in CONCURRENCIES),
        *(f"req/s, c={count}" for count in CONCURRENCIES),
    ]
    return table(
        header,
        [[row.gateway.name, *_by(row.figures.cpu_us, 0), *_by(row.figures.answers_per_s, 0)] for row in rows],
    )


def latency_table(rows: Sequence[Row]) -> str:
    """Milliseconds that a gateway adds, by concurrency."""
    header = ["gateway", *(f"{quantile} ms, c={count}" for count in CONCURRENCIES for quantile in ("p50", "p99"))]
    lines = []
    for row in rows:
        p50, p99 = _by(row.figures.added_p50_ms, 2), _by(row.figures.added_p99_ms, 2)
        lines.append([row.gateway.name, *(cell for pair in zip(p50, p99, strict=True) for cell in pair)])
    return table(header, lines)


def streams_table(rows: Sequence[Row]) -> str:
    """Streams, paced and idle."""
    header = [
        *("gateway", "CPU us per chunk", "chunks/s", "inter-chunk p99 ms"),
        *("added first byte p50 ms", "p99 ms", "KiB per idle stream, each repeat"),
    ]
    lines = []
    for row in rows:
        if not row.gateway.is_streamed:
            continue
        found = row.figures
        timings = (found.gap_p99_ms, found.added_first_byte_p50_ms, found.added_first_byte_p99_ms)
        cells = [_cell(found.cpu_us_per_chunk, 1), _cell(found.chunks_per_s, 0), *(_cell(time, 2) for time in timings)]
        lines.append([row.gateway.name, *cells, ", ".join(f"{kib:.1f}" for kib in found.kib_per_stream) or NONE])
    return table(header, lines)


def size_table(rows: Sequence[Row]) -> str:
    """What it takes to have it."""
    header = ("gateway", "version", "start to first answer s", "memory then MiB", "install MB", "what it is")
    lines = []
    for row in rows:
        cells = [_cell(row.figures.start_s, 2), _cell(row.figures.memory_mib, 0), _cell(row.install_mb, 0)]
        lines.append([row.gateway.name, row.version, *cells, row.gateway.note])
    return table(header, lines)


def features_table(rows: Sequence[Row]) -> str:
    """Which features each had on."""
    names = [field.name for field in fields(Features)]
    lines = [[row.gateway.name, *(getattr(row.gateway.features, name) for name in names)] for row in rows]
    return table(["gateway", *names], lines)


def _faults(rows: Sequence[Row]) -> list[str]:
    lines = [f"- {row.gateway.name}: {fault}" for row in rows for fault in row.figures.faults]
    return ["### Faults seen", "\n".join(lines)] if lines else []


def _by(values: Mapping[int, float], digits: int) -> Iterable[str]:
    return [_cell(values.get(count), digits) for count in CONCURRENCIES]


def _cell(value: float | None, digits: int) -> str:
    # Adding zero turns -0.00 into 0.00.
    return NONE if value is None else f"{round(value, digits) + 0.0:,.{digits}f}"
