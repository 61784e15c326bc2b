"""How well the demo's bundle routes the held-out queries of the demo's real pool: writes a section of docs/results.md.

Reads what scoring and training wrote (deploy/demo/table and deploy/demo/bundle) and asks nothing of a model. Every
rival answers the same queries: each single model (among them the multi-task adapter, trained for as many steps as all
specialists together), a router of hand-written keyword rules, a random model, the per-query oracle, and every other
routing method of this project, trained on the same table.

    python -m benchmarks.demo_pool
    python -m benchmarks.demo_pool --quick      one seed, few methods, printed instead of written

Leaves out: the spread over the seeds of the specialists (there is one pool).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Contender, compete, features_vectors
from benchmarks.demo_contenders import contenders
from benchmarks.demo_sections import Pool, render, summary
from benchmarks.learning_curve import measure_addition
from benchmarks.line_up import ALL, QUICK
from benchmarks.report import write_section
from benchmarks.served import Served
from benchmarks.sides import read_tables
from router_core.bundle import load_bundle

DEMO = Path("deploy/demo")
SEEDS = (0, 1, 2)
ADDED = ("smollm2-json", "smollm2-multi")
"""A specialist and the strongest model, each taken out of the table and added again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute every row and write the section."""
    args = _parser().parse_args(arguments)
    pool = judge_pool(args.bundle, args.train, args.test, args.quick)
    report = json.loads((DEMO / "data" / "report.json").read_text(encoding="utf-8"))
    command = f"python -m benchmarks.demo_pool{' --quick' if args.quick else ''}"
    # Both before anything is written, or the second would say that the tree has uncommitted changes.
    section, readme = render(pool, report, command), summary(pool, command)
    print(section)
    if args.quick and args.results is None:
        return 0
    write_section(args.results or Path("docs/results.md"), "demo_pool", section)
    if args.readme is not None or args.results is None:
        write_section(args.readme or Path("README.md"), "demo_pool", readme)
    return 0


def judge_pool(bundle_path: Path, train: Path, test: Path, quick: bool) -> Pool:
    """The bundle's choices, and those of every method trained on the same table."""
    bundle = load_bundle(bundle_path)
    sides = read_tables(train, test).in_order(bundle.models)
    served = Served(bundle, took_s=0.0)
    routed = served.route(sides.test.questions)
    vectors = features_vectors(sides)
    methods: tuple[Contender, ...] = QUICK if quick else ALL
    seeds = SEEDS[:1] if quick else SEEDS
    added = () if quick else ADDED
    return Pool(
        sides=sides,
        served=served,
        routed=routed,
        earned=contenders(sides, routed.choice),
        results=tuple(compete(method, sides, vectors, seeds) for method in methods),
        seeds=seeds,
        learning={model: measure_addition(sides, served, model, seeds[0]) for model in added},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--bundle", type=Path, default=DEMO / "bundle")
    parser.add_argument("--train", type=Path, default=DEMO / "table" / "train.jsonl")
    parser.add_argument("--test", type=Path, default=DEMO / "table" / "test.jsonl")
    parser.add_argument("--results", type=Path, help="Default: docs/results.md; with --quick the section is printed")
    parser.add_argument("--readme", type=Path, help="Default: README.md, if --results is not given either")
    parser.add_argument("--quick", action="store_true", help="One seed, few methods")
    return parser


if __name__ == "__main__":
    sys.exit(main())
