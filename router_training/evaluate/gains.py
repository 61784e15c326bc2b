"""What a router adds to a rival, task by task, and how badly it does on its worst task.

    gain[t]   mean over the queries of task t of (credit of the router's choice - credit of the rival's choice), paired
    regret[t] (max over m of the accuracy of model m alone on t) - (routed accuracy on t)

The rival is usually the bundle's own task prior: then the gain is what the router knows within a task, beyond having
recognised it. Regret is negative where the router beats the best model of that task.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router_training.evaluate.routed_accuracy import Floats, Indices, Interval, RoutedFile, bootstrap_interval


@dataclass(frozen=True)
class PairedGain:
    """Mean gain of one task (or of several, unweighted), with its interval, and the share of queries routed apart."""

    name: str
    gain: float
    interval: Interval
    differing: float
    n: int


def paired_gain_within_task(
    tasks: Sequence[RoutedFile], rival_choices: Sequence[Indices], *, resamples: int, seed: int, level: float = 0.05
) -> list[PairedGain]:
    """The gain over the rival in each task. `rival_choices[t]` (N,) are the rival's columns for the queries of task t.

    `level` 0.05 gives 95% intervals: a percentile bootstrap over the task's queries.
    """
    return [
        _gain(task.name, [task], [choice], resamples, seed, level)
        for task, choice in zip(tasks, rival_choices, strict=True)
    ]


def mean_paired_gain(
    tasks: Sequence[RoutedFile], rival_choices: Sequence[Indices], *, resamples: int, seed: int, level: float = 0.05
) -> PairedGain:
    """The unweighted mean over the tasks, queries resampled within each."""
    return _gain("mean over tasks", tasks, rival_choices, resamples, seed, level)


def worst_task_regret(tasks: Sequence[RoutedFile]) -> tuple[str, float]:
    """The task with the highest regret (the first of equals), and that regret."""
    regrets = [float(task.single.max() - task.routed_credit.mean()) for task in tasks]
    worst = int(np.argmax(regrets))
    return tasks[worst].name, regrets[worst]


def _gain(
    name: str, tasks: Sequence[RoutedFile], choices: Sequence[Indices], resamples: int, seed: int, level: float
) -> PairedGain:
    gaps: list[Floats] = [
        task.routed_credit - RoutedFile(task.name, task.credit, choice).routed_credit
        for task, choice in zip(tasks, choices, strict=True)
    ]
    differing = [float((task.choice != choice).mean()) for task, choice in zip(tasks, choices, strict=True)]
    return PairedGain(
        name=name,
        gain=float(np.mean([gap.mean() for gap in gaps])),
        interval=bootstrap_interval(gaps, resamples=resamples, seed=seed, level=level),
        differing=float(np.mean(differing)),
        n=sum(len(gap) for gap in gaps),
    )
