"""`router-training router train`: training tables in, a verified router bundle out.

Promises: everything that can be refused is refused before anything is encoded; the bundle appears whole or not at all;
the same command gives the same bundle (same machine, same thread count). Every choice (setting, residual, calibration,
abstention) is made by cross-validation on the given tables. With `--dry-run` nothing is encoded, trained or written.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router_core.bundle import RouterBundle
from router_training.evaluate.routed_accuracy import accuracies_of_file, best_single_model, mean_accuracies
from router_training.job_config import load_job_config
from router_training.routers.clusters import table_clusters
from router_training.routers.config import FEATURES, RouterTrainConfig
from router_training.routers.dataset import DataFile, RouterData, read_router_data, refuse_unlearnable
from router_training.routers.encoding import Encoded, encode_questions
from router_training.routers.export import export_bundle, validation_files
from router_training.routers.fine_tuning import fine_tune_and_judge
from router_training.routers.fitting import contrast_sizes
from router_training.routers.judged import Judged, fit_and_judge
from router_training.routers.methods.base import FitData, task_weights
from router_training.routers.methods.choosing import draw_folds
from router_training.routers.one_thread import one_thread
from router_training.routers.tasks import tasks_or_clusters

NOT_OPTIONS = frozenset({"config", "dry_run"})
_SWITCHES = frozenset({"train_encoder", "export_encoder", "released_code_faults"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of RouterTrainConfig as a flag, plus --config and --dry-run."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with any of these options; flags win.")
    parser.add_argument("--dry-run", action="store_true", help="Check the data and say what would be trained.")
    for name, field in RouterTrainConfig.model_fields.items():
        default = "" if field.is_required() or field.default is None else f" Default: {_shown(field.default)}"
        options: dict[str, Any] = {
            # Only what was given overrides the file; it stays text, which the model turns into the field's type.
            "default": argparse.SUPPRESS,
            "help": f"{field.description}{default}".replace("%", "%%"),
        }
        if name in _SWITCHES:
            options["action"] = argparse.BooleanOptionalAction
        elif name == "data":
            options |= {"nargs": "+", "metavar": "FILE"}
        parser.add_argument("--" + name.replace("_", "-"), **options)


def run(args: argparse.Namespace) -> int:
    """Train and export. Raises RouterTrainingError, RouterCoreError."""
    flags = {name: value for name, value in vars(args).items() if name not in NOT_OPTIONS}
    config = load_job_config(RouterTrainConfig, args.config, flags)
    data = read_router_data([DataFile.parse(text) for text in config.data])
    refuse_unlearnable(data)
    if config.method == "routerdc":
        contrast_sizes(config, len(data.models))
        if config.cluster_source == "table" and config.cluster_weight > 0:
            table_clusters(data.cluster_ids)
    print(_plan(config, data), flush=True)
    if args.dry_run:
        print("dry run: nothing was trained or written")
        return 0
    train_and_export(config, data)
    return 0


def train_and_export(config: RouterTrainConfig, data: RouterData) -> RouterBundle:
    """The job after its checks: encode, fit, judge, write, and say how it went."""
    began = time.monotonic()
    folds_N = draw_folds(data.questions, data.tasks, groups=data.groups, folds=config.folds, seed=config.seed)
    encoded = encode_questions(config, data.questions, task_weights(data.tasks))
    _say(f"encoded {len(data)} queries as {encoded.spec.dimensions} figures each, {time.monotonic() - began:.0f} s")
    with one_thread():
        fit_data = tasks_or_clusters(fit_data_of(config, data, encoded), folds_N)
    if config.train_encoder:
        judged = fine_tune_and_judge(config, data, fit_data, encoded, folds_N, _say)
    else:
        with one_thread():
            judged = fit_and_judge(config, fit_data, folds_N, data.models, _say)
    bundle = export_bundle(config, data, fit_data, encoded, judged)
    _say(_outcome(config, data, fit_data, judged, bundle, time.monotonic() - began))
    return bundle


def fit_data_of(config: RouterTrainConfig, data: RouterData, encoded: Encoded) -> FitData:
    """The tables as the methods read them."""
    has_clusters = all(cluster is not None for cluster in data.cluster_ids)
    return FitData(
        vectors=encoded.vectors,
        credit=data.credit,
        scores=data.scores,
        tasks=data.tasks,
        seed=config.seed,
        table_clusters=table_clusters(data.cluster_ids) if has_clusters else None,
        groups=data.groups,
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _shown(default: object) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _plan(config: RouterTrainConfig, data: RouterData) -> str:
    tasks: Mapping[str, int] = Counter(data.tasks)
    how = f"{config.max_tokens} tokens, cut on the {config.truncation_side}"
    encoder = "features" if config.encoder == FEATURES else f"{config.encoder}, {how}"
    return (
        f"{len(data)} queries of {len(tasks)} task(s), {len(data.models)} models: {', '.join(data.models)}\n"
        f"method {config.method}, encoder {encoder}{', fine-tuned' if config.train_encoder else ''}, "
        f"{config.folds} folds, seed {config.seed}"
    )


def _outcome(
    config: RouterTrainConfig, data: RouterData, fit_data: FitData, judged: Judged, bundle: RouterBundle, took_s: float
) -> str:
    files = validation_files(fit_data, judged.rows, judged.probability)
    best = best_single_model(files)
    mean = mean_accuracies([accuracies_of_file(file, best) for file in files])
    chosen = Counter(data.models[index] for file in files for index in file.choice)
    size = sum(entry.bytes for entry in bundle.manifest.files.values()) / 2**20
    return (
        f"setting {dict(judged.notes)['setting']}, calibration {judged.calibration.method}; on {mean.n} queries, each "
        f"held out (mean over {len(files)} task(s)):\n"
        f"  routed {mean.routed:.4f}  best single {mean.best_single:.4f} ({data.models[best]})  "
        f"random {mean.random:.4f}  oracle {mean.oracle:.4f}\n"
        f"  chosen: {', '.join(f'{name} {count}' for name, count in chosen.most_common())}\n"
        f"wrote {config.out}  bundle {bundle.digest[:12]}  {size:.1f} MiB  in {took_s:.0f} s"
    )
