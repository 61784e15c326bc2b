"""Everything the page's sections read: a bundle's choices on scored queries, task by task.

A task is the column `task` of a table's rows, or the file where a row names none. Two files with a task of one name
are told apart by their file names.

Axis suffixes: N queries of one task or of all, M models, D encoder dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from router_core.bundle import RouterBundle
from router_core.tensors import FloatArray
from router_training.evaluate.abstention import Default
from router_training.evaluate.judging import JudgedFile
from router_training.evaluate.page.learning_file import LearningPoint
from router_training.evaluate.report import weights_of_files
from router_training.evaluate.routed_accuracy import Floats, Indices, RoutedFile, best_single_model

_SUFFIXES = (".gz", ".jsonl", ".json")


@dataclass(frozen=True)
class Task:
    """The queries of one task, with what the bundle says of them."""

    routed: RoutedFile
    probability: Floats
    figures: Floats
    """The scorer's own figures (N, M), before calibration and novelty."""
    vectors: FloatArray
    prior_choice: Indices | None
    questions: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.routed.name

    def __len__(self) -> int:
        return len(self.questions)


@dataclass(frozen=True)
class Judgement:
    """What is known when the page is drawn."""

    bundle: RouterBundle
    tasks: tuple[Task, ...]
    default: Default | None
    routable: tuple[bool, ...]
    costs: Floats | None
    learning: tuple[LearningPoint, ...]
    notes: tuple[str, ...]
    """Lines that must be read with the figures: duplicates, models left out."""
    resamples: int
    seed: int
    projection: str
    examples: int

    @property
    def models(self) -> tuple[str, ...]:
        """The bundle's, in the order of every column."""
        return self.bundle.models

    @property
    def routed(self) -> list[RoutedFile]:
        """Credits and choices of each task."""
        return [task.routed for task in self.tasks]

    @cached_property
    def best_single(self) -> int:
        """Column of the model with the best mean over the tasks."""
        return best_single_model(self.routed)

    @cached_property
    def credit(self) -> Floats:
        """Of all queries, tasks in order, (N, M)."""
        return np.concatenate([task.routed.credit for task in self.tasks])

    @cached_property
    def choice(self) -> Indices:
        """Of all queries (N,)."""
        return np.concatenate([task.routed.choice for task in self.tasks])

    @cached_property
    def probability(self) -> Floats:
        """Of all queries (N, M)."""
        return np.concatenate([task.probability for task in self.tasks])

    @cached_property
    def earned(self) -> Floats:
        """What each of all queries earned, (N,)."""
        return np.concatenate([routed.routed_credit for routed in self.routed])

    @cached_property
    def chosen_probability(self) -> Floats:
        """What the bundle promised of each choice, (N,)."""
        stated: Floats = self.probability[np.arange(len(self.choice)), self.choice]
        return stated

    @cached_property
    def weights(self) -> Floats:
        """One weight per query, so that every task weighs the same."""
        return weights_of_files(self.routed)


def tasks_of(files: Sequence[JudgedFile]) -> tuple[Task, ...]:
    """The tasks of all files, files in order, tasks of a file sorted by name."""
    named = [(file, name, rows) for file in files for name, rows in _rows_by_task(file).items()]
    names = [name for _, name, _ in named]
    stems = {file.source.name: _stem(file.source.name) for file in files}
    tasks = []
    for file, name, rows in named:
        unique = name if names.count(name) == 1 else f"{stems[file.source.name]}: {name}"
        tasks.append(_task(file, unique, rows))
    return tuple(tasks)


def _rows_by_task(file: JudgedFile) -> dict[str, Indices]:
    rows: dict[str, list[int]] = {}
    for row, task in enumerate(file.source.table.tasks):
        rows.setdefault(_stem(file.source.name) if task is None else task, []).append(row)
    return {name: np.array(rows[name], dtype=np.intp) for name in sorted(rows)}


def _task(file: JudgedFile, name: str, rows: Indices) -> Task:
    table = file.source.table
    return Task(
        routed=RoutedFile(name, file.routed.credit[rows], file.routed.choice[rows]),
        probability=file.probability[rows],
        figures=file.scores.quality[rows].astype(np.float64),
        vectors=file.vectors[rows],
        prior_choice=None if file.prior_choice is None else file.prior_choice[rows],
        questions=tuple(table.rows[row].question for row in rows),
        ids=tuple(table.rows[row].id for row in rows),
    )


def _stem(path: str) -> str:
    name = Path(path).name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name or path
