"""`router-training router train`: a training table in, a verified router bundle out.

Promises: everything that can be refused is refused before the encoder is loaded; the bundle appears whole or not at
all; the same command gives the same bundle (same machine, same thread count). With `--dry-run` nothing is embedded,
trained or written.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from router_training.evaluate.routed_accuracy import accuracies_of_file, best_single_model, mean_accuracies
from router_training.job_config import load_job_config
from router_training.routers.clusters import IntArray, kmeans_clusters, table_clusters, task_clusters
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import DataFile, RouterData, read_router_data, resample_per_task, split_rows
from router_training.routers.encoder import FloatArray, SentenceEncoder, load_encoder
from router_training.routers.export import export_bundle, validation_files
from router_training.routers.fitting import FittedRouter, Split, contrast_sizes, fit_routerdc, similarities_of
from router_training.routers.vectors import FrozenVectors, QueryVectors, TrainedVectors

NOT_OPTIONS = frozenset({"config", "dry_run"})
_SWITCHES = frozenset({"train_encoder", "released_code_faults"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of RouterTrainConfig as a flag, plus --config and --dry-run."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with any of these options; flags win.")
    parser.add_argument("--dry-run", action="store_true", help="Check the data and say what would be trained.")
    for name, field in RouterTrainConfig.model_fields.items():
        default = "" if field.is_required() or field.default is None else f" Default: {field.default}"
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
    split = Split(*split_rows(data, validation_fraction=config.validation_fraction, seed=config.seed))
    k_positive, k_negative = contrast_sizes(config, len(data.models))
    if config.cluster_source == "table" and config.cluster_weight > 0:
        table_clusters(data.cluster_ids)
    rows = resample_per_task(data, split.train, config.samples_per_task)
    print(_plan(config, data, split, len(rows), k_positive, k_negative), flush=True)
    if args.dry_run:
        print("dry run: nothing was trained or written")
        return 0
    train_and_export(config, data, split)
    return 0


def train_and_export(config: RouterTrainConfig, data: RouterData, split: Split) -> None:
    """The job after its checks: embed, cluster, fit, judge, write, and say how it went."""
    encoder = load_encoder(
        config.encoder,
        max_tokens=config.max_tokens,
        truncation_side=config.truncation_side,
        device=config.device,
        allow_pickle=config.train_encoder,
    )
    needs_embeddings = not config.train_encoder or (config.cluster_source == "kmeans" and config.cluster_weight > 0)
    embeddings = _embed(encoder, data) if needs_embeddings else None
    vectors: QueryVectors
    if config.train_encoder or embeddings is None:
        vectors = TrainedVectors(encoder, data.questions)
    else:
        vectors = FrozenVectors(embeddings, config.device)
    fitted = _fit(config, data, split, vectors, clusters_of(config, data, split, embeddings))
    similarities = similarities_of(fitted.router, vectors, split.validation)
    files = validation_files(data, split.validation, similarities)
    bundle = export_bundle(config, data, fitted, encoder, files, similarities, split.validation)
    best = best_single_model(files)
    mean = mean_accuracies([accuracies_of_file(file, best) for file in files])
    chosen = Counter(data.models[index] for file in files for index in file.choice)
    print(
        f"best step {fitted.step} of {config.steps}; on {mean.n} held-out queries (mean over {len(files)} task(s)):\n"
        f"  routed {mean.routed:.4f}  best single {mean.best_single:.4f} ({data.models[best]})  "
        f"random {mean.random:.4f}  oracle {mean.oracle:.4f}\n"
        f"  chosen: {', '.join(f'{name} {count}' for name, count in chosen.most_common())}\n"
        f"wrote {config.out}  bundle {bundle.digest[:12]}  confidence temperature "
        f"{bundle.manifest.confidence_temperature:.4g}",
        flush=True,
    )


def clusters_of(config: RouterTrainConfig, data: RouterData, split: Split, embeddings: FloatArray | None) -> IntArray:
    """The cluster of every row, (N,); -1 for rows that are not trained on, where k-means never saw them."""
    if config.cluster_source == "table" and config.cluster_weight > 0:
        return table_clusters(data.cluster_ids)
    if config.cluster_source == "kmeans" and embeddings is not None and config.cluster_weight > 0:
        clusters = np.full(len(data), -1, dtype=np.int64)
        clusters[split.train] = kmeans_clusters(embeddings[split.train], count=config.cluster_count, seed=config.seed)
        return clusters
    return task_clusters(data.tasks)


def _embed(encoder: SentenceEncoder, data: RouterData) -> FloatArray:
    return encoder.embed(data.questions, progress=lambda steps: tqdm(steps, desc="embed", unit="batch", mininterval=1))


def _fit(
    config: RouterTrainConfig, data: RouterData, split: Split, vectors: QueryVectors, clusters: IntArray
) -> FittedRouter:
    with tqdm(total=config.steps, desc="train", unit="step", mininterval=1) as bar:
        shown: dict[str, str] = {}

        def report(step: int, loss: float, accuracy: float | None) -> None:
            shown["loss"] = f"{loss:.3f}"
            if accuracy is not None:
                shown["accuracy"] = f"{accuracy:.4f}"
            bar.set_postfix(shown, refresh=False)
            bar.update()

        return fit_routerdc(data, split, vectors, clusters, config, report)


def _plan(
    config: RouterTrainConfig, data: RouterData, split: Split, trained_rows: int, k_positive: int, k_negative: int
) -> str:
    tasks: Mapping[str, int] = Counter(data.tasks)
    return (
        f"{len(data)} queries of {len(tasks)} task(s), {len(data.models)} models: {', '.join(data.models)}\n"
        f"train on {trained_rows} rows, choose on {len(split.validation)} held out; {config.steps} steps of "
        f"{config.batch_size}; K+ {k_positive}, K- {k_negative}, H {config.cluster_negatives}, lambda "
        f"{config.cluster_weight}, clusters by {config.cluster_source}\n"
        f"encoder {config.encoder} {'fine-tuned' if config.train_encoder else f'frozen, head of {config.head_width}'}, "
        f"{config.max_tokens} tokens, cut on the {config.truncation_side}"
    )
