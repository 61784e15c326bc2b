"""Accuracy task by task: the router beside every single model, the best one for the task, and the oracle."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, interval, percent, points, short_names
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.routed_accuracy import Floats, RoutedFile, bootstrap_interval


def build(judgement: Judgement) -> Section:
    """Always there."""
    tasks = judgement.routed
    best = judgement.models[judgement.best_single]
    return Section(
        title="Accuracy by task",
        lead=(
            "The task best is the one model that does best on that task, which takes knowing the task and its answers; "
            "the oracle takes the right model for every single query. Differences are paired query by query, with 95% "
            f"bootstrap intervals. The best single model over all tasks is {best}."
        ),
        pictures=(
            Picture(
                "task_accuracy",
                "Accuracy in percent on each task: the router, each single model and the oracle.",
                (WIDTH, 1.9 + 0.42 * len(tasks) + 0.14 * len(judgement.models)),
                lambda figure, theme: _draw(figure, theme, judgement),
            ),
        ),
        tables=(_differences(judgement), _singles(judgement)),
    )


def _differences(judgement: Judgement) -> TextTable:
    tasks = judgement.routed
    rows = [_row(judgement, task.name, [task]) for task in tasks]
    if len(tasks) > 1:
        rows.append(_row(judgement, "mean over tasks", tasks))
    return TextTable(
        "Routed accuracy in %, and its differences in points",
        ("task", "queries", "routed", "interval", "oracle", "- best single", "interval", "- task best", "interval"),
        tuple(rows),
    )


def _row(judgement: Judgement, name: str, tasks: Sequence[RoutedFile]) -> tuple[str, ...]:
    routed = [task.routed_credit for task in tasks]
    single = [ours - task.credit[:, judgement.best_single] for ours, task in zip(routed, tasks, strict=True)]
    top = [ours - task.credit[:, int(task.single.argmax())] for ours, task in zip(routed, tasks, strict=True)]
    oracle = [task.credit.max(axis=1) for task in tasks]
    return (
        name,
        str(sum(len(part) for part in routed)),
        percent(_mean(routed)),
        interval(_interval(judgement, routed), percent),
        percent(_mean(oracle)),
        points(_mean(single)),
        interval(_interval(judgement, single)),
        points(_mean(top)),
        interval(_interval(judgement, top)),
    )


def _singles(judgement: Judgement) -> TextTable:
    tasks = judgement.routed
    rows = [_singles_row(task.name, task.single) for task in tasks]
    if len(tasks) > 1:
        rows.append(_singles_row("mean over tasks", np.mean([task.single for task in tasks], axis=0)))
    return TextTable("Each model alone, accuracy in %", ("task", *short_names(judgement.models), "random"), tuple(rows))


def _singles_row(name: str, single_M: Floats) -> tuple[str, ...]:
    return (name, *(percent(value) for value in single_M), percent(float(single_M.mean())))


def _mean(parts: Sequence[Floats]) -> float:
    return float(np.mean([part.mean() for part in parts]))


def _interval(judgement: Judgement, parts: Sequence[Floats]) -> tuple[float, float]:
    return bootstrap_interval(parts, resamples=judgement.resamples, seed=judgement.seed)


def _draw(figure: Figure, theme: Theme, judgement: Judgement) -> None:
    axes = figure.subplots()
    tasks = judgement.routed
    heights = np.arange(len(tasks))
    singles_T_M = 100 * np.array([task.single for task in tasks])
    routed_T = np.array([100 * task.routed_credit.mean() for task in tasks])
    oracle_T = np.array([100 * task.credit.max(axis=1).mean() for task in tasks])
    axes.hlines(heights, singles_T_M.min(axis=1), oracle_T, color=theme.grid, linewidth=5, zorder=1)
    for index, name in enumerate(short_names(judgement.models)):
        axes.scatter(
            singles_T_M[:, index],
            heights,
            s=42,
            color=theme.color(index),
            marker=theme.marker(index),
            edgecolors=theme.paper,
            linewidths=0.5,
            label=name,
            zorder=3,
        )
    axes.scatter(
        oracle_T, heights, s=60, facecolors="none", edgecolors=theme.faint, marker=">", label="oracle", zorder=3
    )
    axes.scatter(
        routed_T,
        heights,
        s=95,
        facecolors="none",
        edgecolors=theme.ink,
        linewidths=2.2,
        marker="D",
        label="router",
        zorder=4,
    )
    axes.set_yticks(heights, [task.name for task in tasks])
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("accuracy, %")
    figure.legend(loc="outside lower center", ncols=2)
