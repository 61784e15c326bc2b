"""Trains the `routerdc` scorer on frozen vectors: a linear head and one embedding per LLM, by both contrastive losses.

Chen, Jiang, Lin, Kwok, Zhang: "RouterDC: Query-Based Router by Dual Contrastive Learning for Assembling Large Language
Models", NeurIPS 2024 (arXiv 2409.19886); the losses, their symbols and every deviation are in routers/routerdc.py, the
loop in routers/fitting.py, the options and their defaults in RouterTrainConfig (routers/config.py), whose names the
settings have. `cluster_weight` 0 leaves out the second loss.

An inner split of the training queries, drawn from the seed, chooses the checkpoint. LLMs are ranked by the table's
scores as in the paper, or by credit.

Leaves out: an encoder that is fine-tuned (routers/fine_tuning.py).
"""

import hashlib

import numpy as np
from pydantic import JsonValue

from router_training.errors import DataError, JobConfigError
from router_training.routers.clusters import IntArray, kmeans_clusters, task_clusters
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData, split_rows
from router_training.routers.fitting import Split, fit_routerdc, scorer_tensors
from router_training.routers.methods.base import FitData, Fitted, Indices, Setting
from router_training.routers.one_thread import one_thread
from router_training.routers.vectors import FrozenVectors

GRID: tuple[Setting, ...] = (
    {},
    {"labels": "credit"},
    {"labels": "credit", "temperature": 0.2},
    {"labels": "credit", "cluster_source": "task"},
)
_RECORDED = frozenset({
    "projection", "cluster_negatives", "cluster_weight", "cluster_source", "cluster_count", "temperature", "labels",
    "samples_per_task", "steps", "batch_size", "weight_decay", "evaluate_every", "validation_fraction",
    "released_code_faults",
})  # fmt: skip


def fit(data: FitData, **setting: JsonValue) -> Fitted:
    """Fit; a setting has the names and defaults of RouterTrainConfig.

    Raises DataError if the split or the clusters need what the data lacks, JobConfigError for train_encoder and for K+
    and K- that the models are too few for, TrainingError for a loss that is not finite.
    """
    # The job's whole config, so that options and defaults stand in one place; what the loop does not read is blank.
    blank = {"data": ["-"], "out": "-", "encoder": "-"}
    config = RouterTrainConfig.model_validate({**blank, "method": "routerdc", "seed": data.seed, **setting})
    if config.train_encoder:
        raise JobConfigError("train_encoder: the vectors are given, there is no encoder to train here")
    table = _as_table(data)
    split = Split(*split_rows(table, validation_fraction=config.validation_fraction, seed=config.seed))
    clusters_N = clusters_of(config, data, split.train)
    with one_thread():
        found = fit_routerdc(table, split, FrozenVectors(data.vectors), clusters_N, config)
    settings: dict[str, JsonValue] = config.model_dump(mode="json", include=set(_RECORDED))
    settings |= {
        "projection": config.head_width,
        "learning_rate": config.step_size,
        "k_positive": found.k_positive,
        "k_negative": found.k_negative,
        "step": found.step,
    }
    return Fitted("routerdc", scorer_tensors(found.router), settings=settings)


def clusters_of(config: RouterTrainConfig, data: FitData, trained: Indices) -> IntArray:
    """The cluster of every row, (N,); -1 for rows that are not trained on, where k-means never saw them.

    Raises DataError for clusters of the table where it has none.
    """
    if config.cluster_weight == 0 or config.cluster_source == "task":
        return task_clusters(data.tasks)
    if config.cluster_source == "table":
        if data.table_clusters is None:
            raise DataError("cluster_source: table, but some rows have no cluster_id; use kmeans")
        return data.table_clusters
    clusters = np.full(len(data), -1, dtype=np.int64)
    clusters[trained] = kmeans_clusters(data.vectors[trained], count=config.cluster_count, seed=config.seed)
    return clusters


def _as_table(data: FitData) -> RouterData:
    """The queries as the training loop reads them.

    Equal vectors stand for equal questions, so that no query is on both sides of the split; nor is any group.
    """
    return RouterData(
        models=tuple(f"model {column}" for column in range(data.credit.shape[1])),
        questions=tuple(hashlib.sha256(vector.tobytes()).hexdigest() for vector in data.vectors),
        tasks=data.judged_tasks,
        cluster_ids=(None,) * len(data),
        groups=data.groups or (None,) * len(data),
        scores=data.scores,
        credit=data.credit,
    )
