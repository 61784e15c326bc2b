"""Both sides of a benchmark's data: what routers are trained on, and the held-out queries they are reported on.

Promise: the columns of both sides are the same models in the same order, and tasks have the same names in both.

Axis suffixes: N queries, M models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from router_training.errors import DataError
from router_training.evaluate.routed_accuracy import Floats, Indices, Metric, RoutedFile
from router_training.routers.dataset import DataFile, RouterData, read_router_data


@dataclass(frozen=True)
class Task:
    """One of RouterDC's data sets: its files, its metric and what the paper reports for RouterDC on it, in %."""

    name: str
    train: str
    test: str
    metric: Metric
    reported: float


ROUTERDC_TASKS = (
    Task("MMLU", "mmlu_train.json.gz", "mmlu_test.json.gz", "probability", 61.07),
    Task("GSM8K", "gsm8k-train.json.gz", "gsm8k-test.json.gz", "multi_attempt", 70.32),
    Task("CMMLU", "cmmlu_train.json.gz", "cmmlu_test.json.gz", "probability", 51.77),
    Task("ARC-C", "arc_challenge_train.json.gz", "arc_challenge_test.json.gz", "probability", 58.52),
    Task("HumanEval", "humaneval_train.json.gz", "humaneval_test.json.gz", "multi_attempt", 51.02),
)
SMALL_TASK = "HumanEval"
"""49 test queries: figures are given with it and without it."""


@dataclass(frozen=True)
class Sides:
    """`tasks` in the order in which they are shown. Values (N,) and choices (N,) are those of the test side."""

    train: RouterData
    test: RouterData
    tasks: tuple[str, ...]

    def rows(self, task: str) -> Indices:
        """Test rows of a task."""
        return np.flatnonzero(np.array(self.test.tasks) == task)

    def by_task(self, values_N: Floats, *, leave_out: str | None = None) -> list[Floats]:
        """Values of test queries, one array per task."""
        return [values_N[self.rows(task)] for task in self.tasks if task != leave_out]

    def files(self, choice_N: Indices) -> list[RoutedFile]:
        """Choices on test, one entry per task."""
        return [
            RoutedFile(task, self.test.credit[rows], choice_N[rows])
            for task in self.tasks
            for rows in [self.rows(task)]
        ]

    def earned(self, figures_N_M: Floats) -> Floats:
        """Credit (N,) of the model with the highest figure (N, M)."""
        return earned_by(figures_N_M.argmax(axis=1), self.test.credit)

    @property
    def best_single(self) -> int:
        """Column of the model that is best on train, mean over the tasks: what one would use without a router."""
        train_tasks = np.array(self.train.tasks)
        return int(
            np.mean([self.train.credit[train_tasks == task].mean(axis=0) for task in self.tasks], axis=0).argmax()
        )

    def in_order(self, models: tuple[str, ...]) -> "Sides":
        """The same data with its columns in another order. Raises DataError if the models differ."""
        return Sides(_in_order(self.train, models), _in_order(self.test, models), self.tasks)

    def without(self, task: str) -> "Sides":
        """The data with one task gone from train; test holds that task alone."""
        kept = np.flatnonzero(np.array(self.train.tasks) != task)
        rest = tuple(name for name in self.tasks if name != task)
        return Sides(take_rows(self.train, kept), take_rows(self.test, self.rows(task)), rest)


def earned_by(choice_N: Indices, credit_N_M: Floats) -> Floats:
    """Credit (N,) of the chosen models."""
    earned: Floats = credit_N_M[np.arange(len(choice_N)), choice_N]
    return earned


def take_rows(data: RouterData, rows: Indices) -> RouterData:
    """Some of the queries."""
    return replace(
        data,
        questions=tuple(data.questions[row] for row in rows),
        tasks=tuple(data.tasks[row] for row in rows),
        cluster_ids=tuple(data.cluster_ids[row] for row in rows),
        groups=tuple(data.groups[row] for row in rows),
        scores=data.scores[rows],
        credit=data.credit[rows],
    )


def read_routerdc(folder: Path) -> Sides:
    """RouterDC's own data, from train/ and test/ in `folder`. Raises TableError, DataError."""
    train = _named(folder / "train", [(task.train, task) for task in ROUTERDC_TASKS])
    test = _named(folder / "test", [(task.test, task) for task in ROUTERDC_TASKS])
    return Sides(train, _in_order(test, train.models), tuple(task.name for task in ROUTERDC_TASKS))


def read_tables(train: Path, test: Path) -> Sides:
    """Two training tables whose rows name their tasks. Raises TableError, DataError."""
    sides = [read_router_data([DataFile(path, None)]) for path in (train, test)]
    strangers = sorted(set(sides[1].tasks) - set(sides[0].tasks))
    if strangers:
        raise DataError(f"{test}: task {strangers[0]!r} is not in {train}; score both sides of the same tasks")
    return Sides(sides[0], _in_order(sides[1], sides[0].models), tuple(sorted(set(sides[1].tasks))))


def _named(folder: Path, files: Sequence[tuple[str, Task]]) -> RouterData:
    data = read_router_data([DataFile(folder / name, task.metric) for name, task in files])
    names = {name: task.name for name, task in files}
    return replace(data, tasks=tuple(names[task] for task in data.tasks))


def _in_order(data: RouterData, models: tuple[str, ...]) -> RouterData:
    odd = sorted(set(data.models) ^ set(models))
    if odd:
        raise DataError(f"train, test and bundle must score the same models; not in all: {', '.join(odd)}")
    columns = [data.models.index(model) for model in models]
    return replace(data, models=models, scores=data.scores[:, columns], credit=data.credit[:, columns])
