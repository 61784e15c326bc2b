"""Every routing method on RouterDC's own data: trained on its `train`, reported on its `test`, to docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.routerdc_data        (DIR holds train/ and test/; default data/routerdc)
    python -m benchmarks.routerdc_data --quick                  one seed, few methods, printed instead of written

Settings, checkpoints, calibration and thresholds come from `train` alone; `test` is read for reporting. Embeddings of
the frozen sentence encoder are kept under .cache/, so a second run is faster. The paper's figures are quoted from
memory.

Leaves out: the paper's own encoder (mDeBERTa-v3-base, fine-tuned), which needs a GPU and a model hub; a cost dial, as
all seven models have 7 to 8 billion parameters (benchmarks/demo_pool.py has one).
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import compete, features_vectors, minilm_vectors
from benchmarks.fine_tuned import fine_tune
from benchmarks.line_up import ALL, ON_SENTENCE_VECTORS, ON_UNSEEN_TASKS, QUICK, QUICK_ON_UNSEEN_TASKS
from benchmarks.report import write_section
from benchmarks.routerdc_sections import Findings, render
from benchmarks.served import train_served
from benchmarks.sides import Sides, read_routerdc
from benchmarks.unseen_tasks import leave_one_out
from router_core.encoder_files import PACKAGED_ENCODER
from router_training.routers.encoder import load_encoder

SEEDS = (0, 1, 2)
MAX_TOKENS = 128
FINE_TUNE_STEPS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, choose, judge, and write the section."""
    args = _parser().parse_args(arguments)
    if not (args.data / "test").is_dir():
        print(f"{args.data}: holds no test/; set ROUTERDC_DATA to the folder of RouterDC's data", file=sys.stderr)
        return 2
    began = time.monotonic()
    sides = read_routerdc(args.data)
    findings = quick_findings(sides) if args.quick else full_findings(sides, args.cache, args.fine_tune_steps)
    section = render(findings, _command(args), time.monotonic() - began)
    if args.results is None and args.quick:
        print(section)
        return 0
    results = args.results or Path("docs/results.md")
    write_section(results, "routerdc_data", section)
    print(f"wrote the section routerdc_data of {results} after {time.monotonic() - began:.0f} s")
    return 0


def quick_findings(sides: Sides) -> Findings:
    """One seed on features vectors: to see that everything runs, not to be published."""
    features = features_vectors(sides)
    return Findings(
        sides=sides,
        seeds=SEEDS[:1],
        served=(train_served(sides.train, SEEDS[0]),),
        results=((features, tuple(compete(one, sides, features, SEEDS[:1]) for one in QUICK)),),
        unseen=tuple(leave_one_out(sides, QUICK_ON_UNSEEN_TASKS, SEEDS[:1], with_default=False)),
        fine_tuned=None,
    )


def full_findings(sides: Sides, cache: Path, fine_tune_steps: int) -> Findings:
    """Everything. The sentence encoder uses every core, all other fits one, so that their figures repeat."""
    encoder = load_encoder(PACKAGED_ENCODER, max_tokens=MAX_TOKENS, truncation_side="left")
    minilm = minilm_vectors(sides, encoder, cache)
    features = features_vectors(sides)
    served = tuple(train_served(sides.train, seed) for seed in SEEDS)
    rows = ((features, ALL), (minilm, ON_SENTENCE_VECTORS))
    results = tuple((vectors, tuple(compete(one, sides, vectors, SEEDS) for one in those)) for vectors, those in rows)
    unseen = leave_one_out(sides, ON_UNSEEN_TASKS, SEEDS, with_default=True)
    tuned = None
    if fine_tune_steps:
        tuned = fine_tune(sides, minilm, steps=fine_tune_steps, seed=SEEDS[0], max_tokens=MAX_TOKENS)
    return Findings(sides, SEEDS, served, results, tuple(unseen), tuned)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA") or "data/routerdc"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/embeddings"))
    parser.add_argument("--results", type=Path, help="Default: docs/results.md; with --quick the section is printed")
    parser.add_argument("--quick", action="store_true", help="One seed, few methods, no sentence encoder")
    parser.add_argument(
        "--fine-tune-steps",
        type=int,
        default=FINE_TUNE_STEPS,
        metavar="N",
        help="Steps of RouterDC with its encoder; 0 leaves it out. Default: %(default)s",
    )
    return parser


def _command(args: argparse.Namespace) -> str:
    words = ["python -m benchmarks.routerdc_data"]
    if args.quick:
        words.append("--quick")
    elif args.fine_tune_steps != FINE_TUNE_STEPS:
        words.append(f"--fine-tune-steps {args.fine_tune_steps}")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
