"""What this gateway is meant to reach, beside what a run has measured: yes, no, or not measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.gateway_figures import Figures
from benchmarks.gateway_visits import BUSY, IDLE_STREAMS
from benchmarks.gateways.ours import CACHED, EXPLICIT, REDIS, ROUTED, TWO_WORKERS

Verdict = Literal["yes", "no", "not measured"]
# A little is left for the allocator: what counts is that streams which ended are not kept.
FLATNESS = 1.1
RUST_ROUTERS = ("vllm-router", "sglang-router")


@dataclass(frozen=True)
class Judgement:
    """One line of the table."""

    target: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class Run:
    """What the targets look at: figures and install sizes by name."""

    figures: Mapping[str, Figures]
    install_mb: Mapping[str, float]

    def of(self, name: str) -> Figures:
        """A gateway's figures; without any where it was not measured."""
        return self.figures.get(name) or Figures(name)

    def cpu_us(self, name: str) -> float | None:
        """CPU per request at BUSY."""
        return self.of(name).cpu_us.get(BUSY)


def judge(run: Run) -> list[Judgement]:
    """Every target."""
    ours, two = run.of(EXPLICIT), run.of(TWO_WORKERS)
    rust = [us for us in (run.of(name).cpu_us_per_chunk for name in RUST_ROUTERS) if us is not None]
    explicit, chunk, idle = run.cpu_us(EXPLICIT), ours.cpu_us_per_chunk, ours.kib_per_stream
    first, last = (idle[0], idle[-1]) if idle else (None, None)
    cheaper = min(rust, default=None)
    return [
        _at_most("explicit model: CPU per request", explicit, 140, "us"),
        _ratio("explicit model over vllm-router", explicit, run.cpu_us("vllm-router"), 1),
        _ratio("explicit model over nginx", explicit, run.cpu_us("nginx"), 5),
        _less("explicit model under FastAPI + httpx", explicit, run.cpu_us("fastapi-httpx"), 8),
        _less("explicit model under LiteLLM", explicit, run.cpu_us("litellm"), 50),
        _less("explicit model under RouteLLM", explicit, run.cpu_us("routellm"), 30),
        _at_most("`auto`, encoder `features`: CPU per request", run.cpu_us(ROUTED), 260, "us"),
        _at_most("`auto`, decision cached: CPU per request", run.cpu_us(CACHED), 170, "us"),
        _ratio("SSE over nginx, CPU per paced chunk", chunk, run.of("nginx").cpu_us_per_chunk, 2.5),
        _ratio("SSE over the cheaper Rust router, CPU per paced chunk", chunk, cheaper, 1.3),
        _below("added first byte, p50 at concurrency 1", ours.added_first_byte_p50_ms, 0.5, "ms"),
        _at_most(f"{IDLE_STREAMS:,} idle streams, the worst repeat", max(idle, default=None), 20, "KiB each"),
        _ratio("idle streams, last repeat over the first", last, first, FLATNESS),
        _ratio(
            "two workers over one, both on Redis, CPU per request", run.cpu_us(TWO_WORKERS), run.cpu_us(REDIS), 1.15
        ),
        _at_least("two workers: share of the one that serves less", two.least_share, 0.4),
        _at_most("start to first answer", ours.start_s, 1.5, "s"),
        _at_most("base install", run.install_mb.get(EXPLICIT), 150, "MB"),
    ]


def _judged(
    target: str, value: float | None, words: Callable[[float], str], holds: Callable[[float], bool]
) -> Judgement:
    if value is None:
        return Judgement(target, "", "not measured")
    return Judgement(target, words(value), "yes" if holds(value) else "no")


def _at_most(what: str, value: float | None, most: float, unit: str) -> Judgement:
    return _judged(f"{what} <= {most:g} {unit}", value, lambda v: f"{v:.3g} {unit}", lambda v: v <= most)


def _below(what: str, value: float | None, limit: float, unit: str) -> Judgement:
    return _judged(f"{what} < {limit:g} {unit}", value, lambda v: f"{v:.3g} {unit}", lambda v: v < limit)


def _at_least(what: str, value: float | None, least: float) -> Judgement:
    return _judged(f"{what} >= {100 * least:g}%", value, lambda v: f"{100 * v:.0f}%", lambda v: v >= least)


def _ratio(what: str, value: float | None, base: float | None, most: float) -> Judgement:
    ratio = None if value is None or not base else value / base
    return _judged(f"{what} <= {most:g} times", ratio, lambda v: f"{v:.2f} times", lambda v: v <= most)


def _less(what: str, value: float | None, base: float | None, least: float) -> Judgement:
    ratio = None if not value or base is None else base / value
    return _judged(f"{what}: >= {least:g} times less", ratio, lambda v: f"{v:.1f} times", lambda v: v >= least)


def met(judgements: Sequence[Judgement]) -> str:
    """How many of those measured are met."""
    measured = [judgement for judgement in judgements if judgement.verdict != "not measured"]
    reached = sum(judgement.verdict == "yes" for judgement in measured)
    return (
        f"{reached} of {len(measured)} measured targets are met, {len(judgements) - len(measured)} were not measured."
    )
