"""`router-training router evaluate`: a bundle's choices beside every single LLM, on scored queries.

    router-training router evaluate --bundle DIR --data FILE:multi_attempt FILE:probability ... [--json OUT]

Each file is split from its metric at the last colon. `--json` writes

    {"files": {PATH: {"routed", "best_single", "file_best", "random", "oracle", "n"}}, "mean": {the same keys}}

as fractions from 0 to 1, PATH as it was given without its metric; the mean is unweighted over files, except `n`, which
is the number of all queries. What each figure is stands in routed_accuracy.py. Intervals are 95% percentile bootstraps
over the queries of each file; those of "routed - best single" and "routed - file best" are paired query by query.

Promises: nothing is guessed: a missing metric, an unreadable file or a table without one of the bundle's models is
refused before the encoder is loaded.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from router_core.bundle import RouterBundle, load_bundle
from router_core.publish import publish_file
from router_core.scoring import scorer_from_bundle
from router_core.table import Table, read_table
from router_training.errors import DataError, JobConfigError
from router_training.evaluate.report import render_report
from router_training.evaluate.routed_accuracy import (
    METRICS,
    Metric,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    credit_of_scores,
    mean_accuracies,
)
from router_training.routers.encoder import FloatArray, load_bundle_encoder

Embed = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True)
class EvaluationFile:
    """A table, its metric and its path as the user wrote it."""

    name: str
    metric: Metric
    table: Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the job."""
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="The router bundle to judge.")
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="FILE:METRIC",
        help="Tables, each with multi_attempt (the score counts) or probability (a score above 0 counts 1).",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="Also write the figures to this file.")
    parser.add_argument("--resamples", type=int, default=2000, help="Bootstrap resamples. Default: 2000")
    parser.add_argument("--seed", type=int, default=0, help="Of the bootstrap. Default: 0")
    parser.add_argument("--device", default="cpu", help="Torch device of the encoder. Default: cpu")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print. Raises RouterTrainingError, RouterCoreError."""
    if args.resamples < 1 or args.seed < 0:
        raise JobConfigError("--resamples must be at least 1 and --seed at least 0")
    bundle = load_bundle(args.bundle)
    files = [read_evaluation_file(text, bundle.models) for text in args.data]
    _refuse_repeats([file.name for file in files])
    encoder = load_bundle_encoder(bundle, device=args.device)

    def embed(texts: Sequence[str]) -> FloatArray:
        return encoder.embed(texts, progress=lambda steps: tqdm(steps, desc="embed", unit="batch", mininterval=1))

    routed = [route_file(bundle, file, embed) for file in files]
    for file in files:
        extra = [model for model in file.table.models if model not in bundle.models]
        if extra:
            print(f"{file.name}: not in the bundle, so left out of every figure: {', '.join(extra)}")
    print(render_report(bundle.models, routed, [file.metric for file in files], args.resamples, args.seed))
    if args.json is not None:
        _write_json(args.json, routed)
        print(f"wrote {args.json}")
    return 0


def read_evaluation_file(text: str, models: Sequence[str]) -> EvaluationFile:
    """Read FILE:METRIC. Raises JobConfigError for a bad metric, TableError, DataError if one of `models` is missing."""
    path, colon, suffix = text.rpartition(":")
    metric = next((metric for metric in METRICS if metric == suffix), None)
    if not colon or not path or metric is None:
        raise JobConfigError(f"--data {text}: must end in :{' or :'.join(METRICS)}, as in results.jsonl:{METRICS[0]}")
    table = read_table(path)
    missing = [model for model in models if model not in table.models]
    if missing:
        raise DataError(
            f"{path}: does not score {', '.join(missing)}, which the bundle routes to; it scores "
            f"{', '.join(table.models)}"
        )
    return EvaluationFile(path, metric, table)


def route_file(bundle: RouterBundle, file: EvaluationFile, embed: Embed) -> RoutedFile:
    """The bundle's choice for every query of a file; columns in the bundle's order."""
    columns = [file.table.models.index(model) for model in bundle.models]
    scores = scorer_from_bundle(bundle).score(embed(file.table.questions))
    credit = credit_of_scores(file.table.scores[:, columns], file.metric)
    return RoutedFile(file.name, credit, scores.ranking()[:, 0])


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


def _refuse_repeats(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise JobConfigError(f"--data {twice[0]}: given twice; its figures would be counted twice in the mean")
