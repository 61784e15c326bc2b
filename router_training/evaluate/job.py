"""`router-training router evaluate`: a bundle's choices beside every single LLM, on scored queries.

    router-training router evaluate --bundle DIR --data FILE:multi_attempt FILE:probability ... [--json OUT]

Each file is split from its metric at the last colon. `--json` writes

    {"files": {PATH: {"routed", "best_single", "file_best", "random", "oracle", "n"}}, "mean": {the same keys}}

as fractions from 0 to 1, PATH as it was given without its metric; the mean is unweighted over files, except `n`, which
is the number of all queries. What each figure is stands in routed_accuracy.py. Intervals are 95% percentile bootstraps
over the queries of each file; those of "routed - best single" and "routed - file best" are paired query by query.

Questions that stand verbatim in the bundle's training data are counted and named; they stay in every figure unless
`--strict-splits` refuses the run.

Promises: everything that can be refused is refused before the encoder is loaded (judging.py).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from router_core.bundle import load_bundle
from router_core.publish import publish_file
from router_training.errors import JobConfigError
from router_training.evaluate.abstention import default_of
from router_training.evaluate.costs import read_costs
from router_training.evaluate.judging import (
    duplicate_lines,
    encoder_of,
    judge,
    read_evaluation_files,
    refuse_duplicates,
)
from router_training.evaluate.report import render_costs, render_report
from router_training.evaluate.routed_accuracy import (
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    mean_accuracies,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the job."""
    add_judging_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="Also write the figures to this file.")


def add_judging_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that `evaluate` and `report` share."""
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="The router bundle to judge.")
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="FILE:METRIC",
        help="Tables, each with multi_attempt (the score counts) or probability (a score above 0 counts 1).",
    )
    parser.add_argument(
        "--costs",
        nargs="+",
        metavar="MODEL=COST",
        help="What a query costs with each model, or a YAML or JSON file of them; adds the cost-quality curve.",
    )
    parser.add_argument(
        "--strict-splits", action="store_true", help="Refuse data with questions that the bundle was trained on."
    )
    parser.add_argument("--resamples", type=int, default=2000, help="Bootstrap resamples. Default: 2000")
    parser.add_argument("--seed", type=int, default=0, help="Of the bootstrap. Default: 0")
    parser.add_argument("--device", default="cpu", help="Torch device of the encoder. Default: cpu")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print. Raises RouterTrainingError, RouterCoreError."""
    refuse_bad_bootstrap(args)
    bundle = load_bundle(args.bundle)
    costs = read_costs(args.costs, bundle.models) if args.costs else None
    files = read_evaluation_files(args.data, bundle.models)
    if args.strict_splits:
        refuse_duplicates(bundle, files)
    encode = encoder_of(bundle, args.device)
    judged = [judge(bundle, file, encode) for file in files]
    for file in files:
        extra = [model for model in file.table.models if model not in bundle.models]
        if extra:
            print(f"{file.name}: not in the bundle, so left out of every figure: {', '.join(extra)}")
    for line in duplicate_lines(judged):
        print(line)
    print(render_report(bundle.models, judged, args.resamples, args.seed, default_of(bundle)))
    if costs is not None:
        print("\n" + render_costs(bundle.models, judged, costs))
    if args.json is not None:
        _write_json(args.json, [file.routed for file in judged])
        print(f"wrote {args.json}")
    return 0


def refuse_bad_bootstrap(args: argparse.Namespace) -> None:
    """Raise JobConfigError for a bootstrap that cannot be drawn."""
    if args.resamples < 1 or args.seed < 0:
        raise JobConfigError("--resamples must be at least 1 and --seed at least 0")


def figures(files: Sequence[RoutedFile]) -> dict[str, object]:
    """What --json writes."""
    best = best_single_model(files)
    parts = {file.name: accuracies_of_file(file, best) for file in files}
    return {
        "files": {name: asdict(part) for name, part in parts.items()},
        "mean": asdict(mean_accuracies(list(parts.values()))),
    }


def _write_json(path: Path, files: Sequence[RoutedFile]) -> None:
    try:
        publish_file(path, (json.dumps(figures(files), indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise JobConfigError(f"--json {path}: cannot be written: {error}") from error
