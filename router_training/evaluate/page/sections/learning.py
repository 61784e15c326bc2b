"""Learning curves: how good the router gets as a new model is probed more, over the seeds of the probes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.learning_file import LearningPoint
from router_training.evaluate.page.section import Picture, Section, TextTable
from router_training.evaluate.page.theme import WIDTH, Theme

Curve = list[tuple[int, float, float, float, int]]
"""Probes, mean, lowest, highest, number of seeds."""


def build(judgement: Judgement) -> Section | None:
    """Only if a file of learning curves was given."""
    if not judgement.learning:
        return None
    curves = curves_of(judgement.learning)
    rows = tuple(
        (metric, str(probes), f"{mean:.4f}", f"{low:.4f}", f"{high:.4f}", str(seeds))
        for metric, curve in curves.items()
        for probes, mean, low, high, seeds in curve
    )
    return Section(
        title="Adding a model",
        lead="How the measures change with the number of probes of the added model: mean over seeds, and their range.",
        pictures=(
            Picture(
                "learning_curves",
                "Each measure against the number of probes of the added model.",
                (WIDTH, 0.4 + 2.3 * len(curves)),
                lambda figure, theme: _draw(figure, theme, curves),
            ),
        ),
        tables=(
            TextTable(
                "Measures by number of probes", ("measure", "probes", "mean", "lowest", "highest", "seeds"), rows
            ),
        ),
    )


def curves_of(points: Sequence[LearningPoint]) -> dict[str, Curve]:
    """One curve per metric, metrics in the order of the file, probes rising."""
    curves: dict[str, Curve] = {}
    for metric in dict.fromkeys(point.metric for point in points):
        mine = [point for point in points if point.metric == metric]
        curves[metric] = []
        for probes in sorted({point.probes for point in mine}):
            values = [point.value for point in mine if point.probes == probes]
            curves[metric].append((probes, float(np.mean(values)), min(values), max(values), len(values)))
    return curves


def _draw(figure: Figure, theme: Theme, curves: dict[str, Curve]) -> None:
    panels = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for index, (axes, (metric, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
        probes, mean, low, high, _ = (np.array(column) for column in zip(*curve, strict=True))
        axes.fill_between(probes, low, high, color=theme.color(index), alpha=0.22, linewidth=0)
        axes.plot(probes, mean, color=theme.color(index), marker="o")
        # Logarithmic, and 0 as far below the first count as that is below the next power of two.
        axes.set_xscale("symlog", base=2, linthresh=max(1.0, float(min(probes[probes > 0], default=1))))
        axes.set_xticks(probes, [str(count) for count in probes])
        axes.minorticks_off()
        axes.set_title(metric)
        axes.set_xlabel("probes" if index == len(curves) - 1 else "")
