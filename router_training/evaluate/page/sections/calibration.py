"""Are the stated probabilities true? Reliability before and after calibration, ECE and Brier score."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.probability_error import (
    BINS,
    Reliability,
    brier,
    expected_calibration_error,
    reliability,
)
from router_training.evaluate.routed_accuracy import Floats


@dataclass(frozen=True)
class _Stated:
    """Some stated probabilities beside what happened."""

    name: str
    probability: Floats
    outcome: Floats


def build(judgement: Judgement) -> Section:
    """Always there; the curve "before" only if the scorer gives probabilities itself."""
    stated = [
        _Stated("every model", judgement.probability, judgement.credit),
        _Stated("the chosen model", judgement.chosen_probability, judgement.earned),
    ]
    if judgement.bundle.router.scorer.gives_probabilities:
        figures = np.clip(np.concatenate([task.figures for task in judgement.tasks]), 0, 1)
        stated.append(_Stated("every model, before calibration and novelty", figures, judgement.credit))
    binned = [reliability(one.probability, one.outcome, judgement.weights) for one in stated]
    return Section(
        title="Calibration",
        lead=(
            f"Of the answers that were promised a probability, how many came out right? On the diagonal, as many as "
            f"promised. {BINS} equal-width bins; the more queries in a bin, the larger its dot; every task weighs the "
            "same. The bars show where the probabilities of every model lie."
        ),
        pictures=(
            Picture(
                "reliability",
                "Reliability diagram: share of right answers against stated probability.",
                (WIDTH, 5.6),
                lambda figure, theme: _draw(figure, theme, stated, binned),
            ),
        ),
        tables=(_errors(stated, judgement.weights), _bins(binned[0]), *_of_manifest(judgement)),
    )


def _errors(stated: list[_Stated], weights_N: Floats) -> TextTable:
    rows = tuple(
        (
            one.name,
            f"{expected_calibration_error(one.probability, one.outcome, weights_N):.4f}",
            f"{brier(one.probability, one.outcome, weights_N):.4f}",
        )
        for one in stated
    )
    return TextTable("Error of the stated probabilities", ("probabilities of", "ECE", "Brier"), rows)


def _bins(binned: Reliability) -> TextTable:
    rows = tuple(
        (f"{index / BINS:.2f} to {(index + 1) / BINS:.2f}", f"{100 * share:.1f}", f"{said:.3f}", f"{happened:.3f}")
        for index, (share, said, happened) in enumerate(zip(binned.share, binned.stated, binned.happened, strict=True))
        if share > 0
    )
    return TextTable("Probabilities of every model", ("bin", "share, %", "mean stated", "mean right"), rows)


def _of_manifest(judgement: Judgement) -> list[TextTable]:
    """What the bundle says of its calibrations, cross-validated on its training data."""
    recorded = judgement.bundle.manifest.evaluation.get("calibration")
    if not isinstance(recorded, dict):
        return []
    rows = [
        (str(name), *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values.values()))
        for name, values in recorded.items()
        if isinstance(values, dict)
    ]
    heads = {tuple(str(key) for key in values) for values in recorded.values() if isinstance(values, dict)}
    if len(heads) != 1:
        return []
    return [TextTable("Recorded by the trainer, on held-out training queries", ("measure", *heads.pop()), tuple(rows))]


def _draw(figure: Figure, theme: Theme, stated: list[_Stated], binned: list[Reliability]) -> None:
    axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1.2, linestyle=":")
    looks = ((theme.color(0), "-"), (theme.color(1), "-"), (theme.faint, "--"))
    for one, part, (color, style) in zip(stated, binned, looks, strict=False):
        kept = part.share > 0
        axes.plot(part.stated[kept], part.happened[kept], style, label=one.name, color=color, linewidth=1.3)
        # A bin with few queries says little: its dot is small.
        axes.scatter(part.stated[kept], part.happened[kept], s=8 + 500 * part.share[kept], color=color, alpha=0.85)
    axes.set_ylabel("share that was right")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="upper left")
    edges = (np.arange(BINS) + 0.5) / BINS
    bars.bar(edges, 100 * binned[0].share, width=0.9 / BINS, color=theme.color(0))
    bars.set_ylabel("share, %")
    bars.set_xlabel("stated probability")
    bars.set_xlim(-0.02, 1.02)
