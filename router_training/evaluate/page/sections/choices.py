"""Which model was chosen and which would have been best, on the queries where it matters, task by task."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, short_names
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.routed_accuracy import Floats, RoutedFile

DRAWN_TASKS = 6
LABELLED_CELLS = 8
"""With more models than this the cells carry no figures; the tables do."""


def build(judgement: Judgement) -> Section:
    """Always there."""
    drawn = sorted(judgement.routed, key=lambda task: -len(task.choice))[:DRAWN_TASKS]
    drawn = [task for task in judgement.routed if task in drawn]
    rows = -(-len(drawn) // 2)
    side = 1.6 + 0.16 * len(judgement.models)
    left_out = f" The {DRAWN_TASKS} largest tasks are drawn." if len(judgement.routed) > DRAWN_TASKS else ""
    return Section(
        title="Choices",
        lead=(
            "Rows are the chosen model, columns the model that would have been best; cells are percent of the queries "
            "on which the models differ. Where several are best, the query counts as a share of each. On the diagonal "
            f"the choice could not have been better.{left_out}"
        ),
        pictures=(
            Picture(
                "choices",
                "Chosen model against best model on each task, in percent of the queries on which models differ.",
                (WIDTH, 1.3 + rows * side),
                lambda figure, theme: _draw(figure, theme, judgement, drawn),
            ),
        ),
        tables=(_shares(judgement), *(_confusion_table(judgement, task) for task in judgement.routed)),
    )


def confusion(task: RoutedFile) -> tuple[Floats, int]:
    """(M, M) shares of queries by chosen row and best column, summing to 1, and how many queries they are of."""
    differ = task.credit.max(axis=1) > task.credit.min(axis=1)
    credit, choice = task.credit[differ], task.choice[differ]
    is_best = (credit == credit.max(axis=1, keepdims=True)).astype(np.float64)
    # A choice that is among the best could not be better: it counts on the diagonal, whole.
    rows = np.arange(len(choice))
    hit = is_best[rows, choice] > 0
    is_best[hit] = 0.0
    is_best[rows[hit], choice[hit]] = 1.0
    shares = np.zeros((task.credit.shape[1],) * 2)
    np.add.at(shares, choice, is_best / np.maximum(is_best.sum(axis=1, keepdims=True), 1.0))
    return shares / max(len(choice), 1), len(choice)


def _shares(judgement: Judgement) -> TextTable:
    """How often each model is chosen."""
    count = len(judgement.models)
    rows = tuple(
        (task.name, *(f"{100 * share:.1f}" for share in np.bincount(task.choice, minlength=count) / len(task.choice)))
        for task in judgement.routed
    )
    return TextTable(
        "How often each model is chosen, % of the task's queries", ("task", *short_names(judgement.models)), rows
    )


def _confusion_table(judgement: Judgement, task: RoutedFile) -> TextTable:
    shares, count = confusion(task)
    rows = tuple(
        (model, *(f"{100 * share:.1f}" for share in row)) for model, row in zip(judgement.models, shares, strict=True)
    )
    title = f"{task.name}: chosen (rows) and best (columns), % of {count} queries on which the models differ"
    return TextTable(title, ("chosen", *short_names(judgement.models)), rows)


def _draw(figure: Figure, theme: Theme, judgement: Judgement, tasks: list[RoutedFile]) -> None:
    names = short_names(judgement.models, 20)
    columns = min(2, len(tasks))
    grid = figure.subplots(-(-len(tasks) // columns), columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(tasks):
            axes.set_visible(False)
            continue
        is_last_row = place + columns >= len(tasks)
        _heat_map(axes, theme, tasks[place], names, with_x=is_last_row, with_y=place % columns == 0)


def _heat_map(axes: Axes, theme: Theme, task: RoutedFile, names: list[str], *, with_x: bool, with_y: bool) -> None:
    shares, _ = confusion(task)
    highest = max(float(shares.max()), 1e-9)
    axes.imshow(100 * shares, cmap=theme.shades, vmin=0, vmax=100 * highest, aspect="auto")
    axes.grid(visible=False)
    axes.set_title(task.name)
    places = range(len(names))
    axes.set_xticks(places, names if with_x else [""] * len(names), rotation=90, fontsize=8.5)
    axes.set_yticks(places, names if with_y else [""] * len(names), fontsize=8.5)
    if len(names) > LABELLED_CELLS:
        return
    for row in places:
        for column in places:
            share = shares[row, column]
            if share < 0.005:
                continue
            color = theme.paper if share > 0.5 * highest else theme.ink
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                color=color,
            )  # fmt: skip
