"""Quality against cost: the router as cost weighs more and more, single models, the best random mix and the oracle."""

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.cost_curve import CostQuality, cost_quality
from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, percent, short_names
from router_training.evaluate.page.theme import WIDTH, Theme

SHOWN_POINTS = 9


def build(judgement: Judgement) -> Section | None:
    """Only if costs were given."""
    if judgement.costs is None:
        return None
    traded = cost_quality(
        judgement.probability, judgement.credit, judgement.costs, judgement.weights, judgement.routable
    )
    areas = traded.areas
    return Section(
        title="Cost and quality",
        lead=(
            "Each query goes to the model with the highest probability - lambda * cost; the line shows every lambda, "
            "from 0 at the right to the cheapest model at the left. The random mix draws between single models. The "
            "mean quality over all budgets, from the cheapest to the dearest model, is "
            f"{percent(areas['routed'])}% routed, {percent(areas['random mix'])}% for the random mix and "
            f"{percent(areas['oracle'])}% for the oracle."
        ),
        pictures=(
            Picture(
                "cost_quality",
                "Mean accuracy against mean cost of a query: the router's curve, single models, random mix and oracle.",
                (WIDTH, 4.6 + 0.1 * len(judgement.models)),
                lambda figure, theme: _draw(figure, theme, judgement, traded),
            ),
        ),
        tables=(_areas(traded), _points(traded), _singles(judgement, traded)),
    )


def _areas(traded: CostQuality) -> TextTable:
    rows = tuple((name, percent(area)) for name, area in traded.areas.items())
    return TextTable("Mean quality over all budgets, in %", ("policy", "area"), rows)


def _points(traded: CostQuality) -> TextTable:
    """Points evenly spread over the range of costs."""
    curve = traded.routed
    wanted = np.linspace(curve.cost[0], curve.cost[-1], SHOWN_POINTS)
    places = sorted({int(np.abs(curve.cost - cost).argmin()) for cost in wanted})
    rows = tuple((f"{curve.weight[p]:.4g}", f"{curve.cost[p]:.4g}", percent(curve.quality[p])) for p in places)
    return TextTable("Points of the router's curve", ("lambda", "mean cost", "accuracy, %"), rows)


def _singles(judgement: Judgement, traded: CostQuality) -> TextTable:
    singles = zip(judgement.models, traded.single_cost, traded.single_quality, strict=True)
    rows = tuple((model, f"{cost:.4g}", percent(quality)) for model, cost, quality in singles)
    return TextTable("Each model alone", ("model", "mean cost", "accuracy, %"), rows)


def _draw(figure: Figure, theme: Theme, judgement: Judgement, traded: CostQuality) -> None:
    axes = figure.subplots()
    oracle, routed, mix = traded.oracle, traded.routed, traded.random_mix
    axes.plot(oracle.cost, 100 * oracle.quality, color=theme.faint, linestyle=":", label="oracle")
    dearest = float(traded.single_cost.max())
    axes.plot(
        [dearest, *mix.cost],
        100 * np.array([mix.quality[0], *mix.quality]),
        color=theme.faint,
        linestyle="--",
        label="random mix",
    )
    axes.plot(routed.cost, 100 * routed.quality, color=theme.ink, linewidth=2.4, label="router")
    axes.plot(routed.cost[0], 100 * routed.quality[0], marker="D", color=theme.ink, markersize=7)
    for index, name in enumerate(short_names(judgement.models)):
        axes.scatter(
            traded.single_cost[index],
            100 * traded.single_quality[index],
            s=55,
            color=theme.color(index),
            marker=theme.marker(index),
            label=name,
            zorder=3,
        )
    axes.set_xlabel("mean cost of a query")
    axes.set_ylabel("accuracy, %")
    figure.legend(loc="outside lower center", ncols=2)
