"""The table of routers beside each other: accuracy per task, three means, and the paired difference to one rival.

Axis suffixes: N test queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.paired import Difference, table
from benchmarks.sides import Sides
from router_training.evaluate.routed_accuracy import Floats


@dataclass(frozen=True)
class Row:
    """A router's credit (N,) on test, once per seed."""

    label: str
    runs: tuple[Floats, ...]

    @property
    def mean(self) -> Floats:
        """Credit (N,), averaged over the seeds."""
        mean: Floats = np.mean(self.runs, axis=0)
        return mean


def reference_rows(sides: Sides) -> list[Row]:
    """What needs no router, and what none can reach."""
    credit = sides.test.credit
    best = sides.best_single
    task_best = np.empty(len(credit))
    for task in sides.tasks:
        rows = sides.rows(task)
        task_best[rows] = credit[rows, int(credit[rows].mean(axis=0).argmax())]
    return [
        Row(f"best single LLM on train: {short(sides.test.models[best])}", (credit[:, best],)),
        Row("best LLM per task, picked on test: not a router", (task_best,)),
        Row("random LLM", (credit.mean(axis=1),)),
        Row("oracle: best LLM per query", (credit.max(axis=1),)),
    ]


def accuracy_table(
    sides: Sides, rows: Sequence[Row], rival: Row, *, apart: str | None, reported: tuple[str, Sequence[float]] | None
) -> str:
    """Markdown. `apart` is the task that a second mean leaves out; `reported` a last row of known figures in %."""
    header = ["accuracy in %", *(f"{task} (n = {len(sides.rows(task))})" for task in sides.tasks), "mean"]
    header += [f"mean without {apart}"] if apart else []
    header += ["per query", f"minus {rival.label}"]
    header += [f"minus {rival.label}, without {apart}"] if apart else []
    lines = [_line(sides, row, rival, apart) for row in rows]
    if reported is not None:
        label, figures = reported
        rest = [figure for task, figure in zip(sides.tasks, figures, strict=True) if task != apart]
        means = [np.mean(figures), *([np.mean(rest)] if apart else [])]
        blank = [""] * (len(header) - 1 - len(figures) - len(means))
        lines.append([label, *(f"{figure:.2f}" for figure in [*figures, *means]), *blank])
    return table(header, lines)


def short(model: str) -> str:
    """The model's name without its owner."""
    return model.rpartition("/")[2]


def _line(sides: Sides, row: Row, rival: Row, apart: str | None) -> list[str]:
    per_task = [np.array([100 * run[sides.rows(task)].mean() for run in row.runs]) for task in sides.tasks]
    cells = [*per_task, np.mean(per_task, axis=0)]
    if apart:
        cells.append(np.mean([cell for task, cell in zip(sides.tasks, per_task, strict=True) if task != apart], axis=0))
    cells.append(np.array([100 * run.mean() for run in row.runs]))
    line = [row.label, *map(_cell, cells)]
    if row is rival:
        return [*line, "", *([""] if apart else [])]
    line.append(str(Difference.paired(sides.by_task(row.mean), sides.by_task(rival.mean))))
    if apart:
        ours, theirs = (sides.by_task(one.mean, leave_out=apart) for one in (row, rival))
        line.append(str(Difference.paired(ours, theirs)))
    return line


def _cell(per_seed: Floats) -> str:
    spread = f" +- {per_seed.std(ddof=1):.2f}" if len(per_seed) > 1 else ""
    return f"{per_seed.mean():.2f}{spread}"
