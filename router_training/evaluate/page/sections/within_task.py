"""What the router adds within a task: its gain over recognising the task and taking the model that was good at it."""

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.gains import PairedGain, mean_paired_gain, paired_gain_within_task, worst_task_regret
from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, interval, percent, points
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.routed_accuracy import Indices

_SAME = "Here the router chose the same model for every query. "


def build(judgement: Judgement) -> Section:
    """Always there; the rival is the bundle's own task prior, or else the best model of each task."""
    rival, choices = _rival(judgement)
    settings = {"resamples": judgement.resamples, "seed": judgement.seed}
    gains = paired_gain_within_task(judgement.routed, choices, **settings)
    if len(gains) > 1:
        gains.append(mean_paired_gain(judgement.routed, choices, **settings))
    is_same = all(gain.differing == 0 for gain in gains)
    picture = Picture(
        "within_task_gain",
        f"Gain of the router over {rival} on each task, in percentage points with 95% intervals.",
        (WIDTH, 1.1 + 0.36 * len(gains)),
        lambda figure, theme: _draw(figure, theme, gains, rival),
    )
    worst, regret = worst_task_regret(judgement.routed)
    return Section(
        title="Gain within each task",
        lead=(
            f"What routing earns beyond {rival}, on the same queries, in points with 95% paired bootstrap intervals. "
            f"An interval that holds 0 is no evidence of a gain. {_SAME if is_same else ''}"
            "The largest regret against the best model of a task is "
            f"{points(regret)} points, on {worst}; below 0 the router beats that model."
        ),
        pictures=() if is_same else (picture,),
        tables=(
            TextTable(
                f"Gain over {rival}, in points",
                ("task", "queries", "gain", "95% interval", "routed otherwise, %"),
                tuple(
                    (gain.name, str(gain.n), points(gain.gain), interval(gain.interval), percent(gain.differing))
                    for gain in gains
                ),
            ),
            _regrets(judgement),
        ),
    )


def _rival(judgement: Judgement) -> tuple[str, list[Indices]]:
    priors = [task.prior_choice for task in judgement.tasks if task.prior_choice is not None]
    if len(priors) == len(judgement.tasks):
        return "the bundle's own task prior", priors
    best = [np.full(len(task.choice), int(task.single.argmax()), dtype=np.intp) for task in judgement.routed]
    return "the best model of each task", best


def _regrets(judgement: Judgement) -> TextTable:
    rows = [
        (
            task.name,
            judgement.models[int(task.single.argmax())],
            points(float(task.single.max() - task.routed_credit.mean())),
        )
        for task in judgement.routed
    ]
    return TextTable(
        "Regret against the best model of each task, in points", ("task", "best model", "regret"), tuple(rows)
    )


def _draw(figure: Figure, theme: Theme, gains: list[PairedGain], rival: str) -> None:
    axes = figure.subplots()
    heights = np.arange(len(gains))
    means = np.array([100 * gain.gain for gain in gains])
    bounds = 100 * np.array([gain.interval for gain in gains])
    axes.axvline(0, color=theme.faint, linewidth=1.2)
    for height, mean, (low, high) in zip(heights, means, bounds, strict=True):
        # Green and vermillion only where the interval leaves 0 out.
        color = theme.color(2) if low > 0 else theme.color(1) if high < 0 else theme.faint
        axes.plot([low, high], [height, height], color=color, linewidth=3, solid_capstyle="round")
        axes.plot(mean, height, marker="D", color=color, markersize=7, markeredgecolor=theme.paper)
    axes.set_yticks(heights, [gain.name for gain in gains])
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    widest = max(1.0, float(np.abs(bounds).max()) * 1.08)
    axes.set_xlim(-widest, widest)
    axes.set_xlabel(f"gain over {rival}, points")
