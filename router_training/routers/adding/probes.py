"""Probes: queries that the new model was scored on.

Any training table will do that scores the new model: what it earned is taken from its own column. If every table scores
all models of the bundle as well, that is kept, since it lets the abstention thresholds be fitted again.

Promise: at least two different questions, or a DataError.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from router_core.bundle import DataEntry, question_hash
from router_core.scoring.base import FloatArray
from router_core.table import Table, read_table
from router_training.errors import DataError
from router_training.evaluate.routed_accuracy import Metric, credit_of_scores
from router_training.routers.dataset import DataFile, data_entry
from router_training.routers.methods.base import Floats, Indices
from router_training.routers.methods.choosing import draw_folds

FOLDS = 5
FEWEST_QUESTIONS = 2
Encode = Callable[[Sequence[str]], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class ProbeTable:
    """P probes as they were read. `others` (P, M) is what the bundle's models earned, None if a table lacks one."""

    questions: tuple[str, ...]
    tasks: tuple[str, ...]
    credit: Floats
    others: Floats | None
    entries: tuple[DataEntry, ...]

    def __len__(self) -> int:
        return len(self.questions)

    def encoded(self, encode: Encode, seed: int) -> "Probes":
        """With vectors, and folds drawn from the seed."""
        vectors, lost = encode(self.questions)
        return Probes(self.questions, self.tasks, vectors, lost, self.credit, self.others, seed)


@dataclass(frozen=True)
class Probes:
    """P probes and their vectors (P, D); `lost` (P,) is the share of each text that the encoder cut off."""

    questions: tuple[str, ...]
    tasks: tuple[str, ...]
    vectors: FloatArray
    lost: FloatArray
    credit: Floats
    others: Floats | None
    seed: int

    def __len__(self) -> int:
        return len(self.questions)

    def rows(self, rows: Indices) -> "Probes":
        """Some of the probes."""
        return Probes(
            questions=tuple(self.questions[row] for row in rows),
            tasks=tuple(self.tasks[row] for row in rows),
            vectors=self.vectors[rows],
            lost=self.lost[rows],
            credit=self.credit[rows],
            others=None if self.others is None else self.others[rows],
            seed=self.seed,
        )

    def folds(self) -> Indices:
        """The fold of each probe (P,), all rows of one question in one. Raises DataError for one question alone."""
        folds = max(FEWEST_QUESTIONS, min(FOLDS, count_questions(self.questions)))
        return draw_folds(self.questions, ("probes",) * len(self), folds=folds, seed=self.seed)


def count_questions(questions: Sequence[str]) -> int:
    """How many different questions there are, as folds tell them apart."""
    return len({question_hash(question) for question in questions})


def read_probes(files: Sequence[DataFile], model: str, models: Sequence[str]) -> ProbeTable:
    """Read probes of `model`; `models` are the bundle's. Raises TableError, DataError."""
    tables = [read_table(file.path) for file in files]
    for file, table in zip(files, tables, strict=True):
        if model not in table.models:
            raise DataError(f"{file.path}: does not score {model!r}; it scores {', '.join(table.models)}")
    metrics: list[Metric] = [file.metric or "multi_attempt" for file in files]
    probes = ProbeTable(
        questions=tuple(question for table in tables for question in table.questions),
        tasks=tuple(
            task if task is not None else file.path.name
            for file, table in zip(files, tables, strict=True)
            for task in table.tasks
        ),
        credit=np.concatenate([_credit(*pair, (model,))[:, 0] for pair in zip(tables, metrics, strict=True)]),
        others=(
            np.concatenate([_credit(*pair, models) for pair in zip(tables, metrics, strict=True)])
            if all(set(models) <= set(table.models) for table in tables)
            else None
        ),
        entries=tuple(data_entry(file.path, table) for file, table in zip(files, tables, strict=True)),
    )
    if count_questions(probes.questions) < FEWEST_QUESTIONS:
        raise DataError(f"{files[0].path}: one question alone; a model is added from {FEWEST_QUESTIONS} or more")
    return probes


def _credit(table: Table, metric: Metric, models: Sequence[str]) -> Floats:
    return credit_of_scores(table.scores[:, [table.models.index(model) for model in models]], metric)
