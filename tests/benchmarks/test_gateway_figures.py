from dataclasses import replace

import pytest

from benchmarks.gateway_figures import figures
from benchmarks.gateway_visits import DIRECT, Idle, Load, Visit
from benchmarks.load.generator import LoadResult, Quantiles


def load(*, answers: int = 1000, events: int = 0, ms: float = 1.0, cpu_s: float | None = 0.2, errors: int = 0) -> Load:
    timing = Quantiles(answers, ms / 1e3, 3 * ms / 1e3) if answers else None
    result = LoadResult(
        answers=answers,
        answers_per_s=answers / 2,
        latency=timing,
        first_byte=timing,
        gap=Quantiles(events, 0.01, 0.012) if events else None,
        events=events,
        reconnects=0,
        errors=errors,
        first_error="status 500: no" if errors else "",
        elapsed_s=2.0,
    )
    return Load(result, cpu_s)


def visit(name: str = "peer", **more: object) -> Visit:
    return replace(Visit(name, start_s=0.5, memory_mib=50.0, requests={64: load()}), **more)  # type: ignore[arg-type]


DIRECT_VISIT = Visit(
    DIRECT, requests={64: load(ms=0.25, cpu_s=None)}, streams=load(events=10, cpu_s=None), first_byte=load(ms=0.1)
)


def test_cpu_is_per_answer_and_a_median_over_rounds() -> None:
    rounds = [{"peer": visit(requests={64: load(cpu_s=cpu_s)})} for cpu_s in (0.1, 0.4, 0.2)]
    assert figures("peer", rounds, None).cpu_us == pytest.approx({64: 200})
    assert figures("peer", rounds, None).answers_per_s == {64: 500}


def test_latency_is_what_the_gateway_adds_to_a_direct_call_of_its_round() -> None:
    slow = replace(DIRECT_VISIT, requests={64: load(ms=2)})
    rounds = [{"peer": visit(requests={64: load(ms=ms)}), DIRECT: direct} for ms, direct in
              ((1, DIRECT_VISIT), (5, slow), (1.5, DIRECT_VISIT))]  # fmt: skip
    found = figures("peer", rounds, None)
    assert found.added_p50_ms == pytest.approx({64: 1.25})
    assert found.added_p99_ms == pytest.approx({64: 3.75})


def test_streams_are_counted_by_the_event() -> None:
    rounds = [{"peer": visit(streams=load(events=4000, cpu_s=0.1), first_byte=load(ms=0.4)), DIRECT: DIRECT_VISIT}]
    found = figures("peer", rounds, Idle("peer", (10.0, 10.5, 11.0)))
    assert found.cpu_us_per_chunk == pytest.approx(25)
    assert found.chunks_per_s == 2000
    assert found.gap_p99_ms == pytest.approx(12)
    assert found.added_first_byte_p50_ms == pytest.approx(0.3)
    assert found.added_first_byte_p99_ms == pytest.approx(0.9)
    assert found.kib_per_stream == (10.0, 10.5, 11.0)


def test_what_was_not_measured_is_absent() -> None:
    found = figures("peer", [{"peer": Visit("peer", fault="it ended")}, {}], Idle("peer", fault="only 3"))
    assert found.cpu_us == found.answers_per_s == found.added_p50_ms == {}
    assert found.start_s is found.memory_mib is found.cpu_us_per_chunk is found.least_share is None
    assert found.faults == ("it ended", "idle streams: only 3")


def test_a_load_without_an_answer_has_no_figure_but_a_fault() -> None:
    failed = visit(streams=load(answers=0, errors=30), requests={64: load(), 256: load(answers=99, errors=1)})
    found = figures("peer", [{"peer": failed, DIRECT: DIRECT_VISIT}, {"peer": visit()}], None)
    assert found.cpu_us_per_chunk is None
    assert set(found.cpu_us) == {64, 256}
    assert found.faults == (
        "256 at once: 1% errors in 1 of the rounds, the first: status 500: no",
        "paced streams: 100% errors in 1 of the rounds, the first: status 500: no",
    )


def test_the_worker_that_serves_least_is_told() -> None:
    rounds = [{"peer": visit(worker_shares=shares)} for shares in ((0.3, 0.7), (0.45, 0.55), (0.5, 0.5))]
    assert figures("peer", rounds, None).least_share == 0.45
