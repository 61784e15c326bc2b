"""Training data for a router: several tables read as one, split into training and validation, resampled per task.

A data file is given as PATH or PATH:METRIC (split at the last colon, so a path may hold others); METRIC says what a
score is worth when routing is judged (evaluate/routed_accuracy.py) and is multi_attempt where it is left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from router_core.bundle import DataEntry
from router_core.table import Table, read_table
from router_training.errors import DataError
from router_training.evaluate.routed_accuracy import METRICS, Floats, Metric, credit_of_scores

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class DataFile:
    """One file and its metric; `metric` is None where none was given."""

    path: Path
    metric: Metric | None

    @classmethod
    def parse(cls, text: str) -> "DataFile":
        """PATH or PATH:METRIC."""
        path, colon, suffix = text.rpartition(":")
        metric = next((metric for metric in METRICS if metric == suffix), None) if colon and path else None
        return cls(Path(text) if metric is None else Path(path), metric)


@dataclass(frozen=True)
class RouterData:
    """N queries scored by M models. `credit` (N, M) is what an answer earns; a task is the file where none is named."""

    models: tuple[str, ...]
    questions: tuple[str, ...]
    tasks: tuple[str, ...]
    cluster_ids: tuple[int | None, ...]
    groups: tuple[str | None, ...]
    scores: Floats
    credit: Floats
    entries: tuple[DataEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def rows_of_tasks(self, rows: Indices) -> dict[str, Indices]:
        """The given rows, sorted apart by task."""
        return {
            task: np.array([row for row in rows if self.tasks[row] == task], dtype=np.intp)
            for task in sorted({self.tasks[row] for row in rows})
        }


def read_router_data(files: Sequence[DataFile]) -> RouterData:
    """Read and join training tables. Raises TableError, DataError if they score different models."""
    tables = [read_table(file.path) for file in files]
    models = tables[0].models
    for file, table in zip(files, tables, strict=True):
        odd = sorted(set(table.models) ^ set(models))
        if odd:
            raise DataError(f"{file.path}: scores other models than {files[0].path}; not in both: {', '.join(odd)}")
    scores = [table.scores[:, [table.models.index(model) for model in models]] for table in tables]
    credits_ = [
        credit_of_scores(part, file.metric or "multi_attempt") for file, part in zip(files, scores, strict=True)
    ]
    return RouterData(
        models=models,
        questions=tuple(question for table in tables for question in table.questions),
        tasks=tuple(
            task if task is not None else file.path.name
            for file, table in zip(files, tables, strict=True)
            for task in table.tasks
        ),
        cluster_ids=tuple(cluster for table in tables for cluster in table.cluster_ids),
        groups=tuple(group for table in tables for group in table.groups),
        scores=np.concatenate(scores),
        credit=np.concatenate(credits_),
        entries=tuple(data_entry(file.path, table) for file, table in zip(files, tables, strict=True)),
    )


def refuse_unlearnable(data: RouterData) -> None:
    """Raise DataError for a table from which no choice between models can be learned.

    That is: one model alone, a model that earns nothing on any row, or rows that all credit every model the same.
    """
    first, last = 1, len(data)
    if len(data.models) < 2:
        raise DataError(f"data: the tables score {data.models[0]!r} alone; a router needs at least two models")
    for column, model in enumerate(data.models):
        if not (data.credit[:, column] > 0).any():
            raise DataError(f"data: model {model!r} has no right answer in rows {first} to {last}; leave it out")
    if (data.credit == data.credit[0, 0]).all():
        raise DataError(
            f"data: rows {first} to {last} credit every model {data.credit[0, 0]:g}: a single class, nothing to learn"
        )


def data_entry(path: Path, table: Table) -> DataEntry:
    """What a bundle says about a file it was trained on."""
    return DataEntry(name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), rows=len(table))


def split_rows(data: RouterData, *, validation_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Rows for training and for validation, drawn per task; all rows of one question, or of one
    group where the table names groups, land on the same side. Raises DataError if a side would be empty.
    """
    rng = np.random.default_rng(seed)
    named = zip(data.questions, data.groups, strict=True)
    units = [question if group is None else f"group {group}" for question, group in named]
    held_out: set[str] = set()
    for _, rows in sorted(data.rows_of_tasks(np.arange(len(data))).items()):
        mine = sorted({units[row] for row in rows})
        count = max(1, round(validation_fraction * len(mine)))
        held_out.update(mine[index] for index in rng.permutation(len(mine))[:count])
    is_held_out = np.array([unit in held_out for unit in units])
    train, validation = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    if len(train) == 0:
        raise DataError(f"{len(data)} rows are too few to cut a validation split from")
    return train, validation


def resample_per_task(data: RouterData, rows: Indices, samples_per_task: int | None) -> Indices:
    """Cut or repeat each task's rows to exactly `samples_per_task`, as RouterDC does (1000); None keeps them all."""
    if samples_per_task is None:
        return rows
    return np.concatenate([np.resize(part, samples_per_task) for part in data.rows_of_tasks(rows).values()])
