"""Risk against coverage: does the router know when it does not know, and what does leaving those queries alone cost?"""

import numpy as np
from matplotlib.figure import Figure

from router_training.evaluate.abstention import (
    Default,
    choice_with_abstention,
    coverage_at_regret,
    gain_over_default,
)
from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Picture, Section, TextTable, percent, points
from router_training.evaluate.page.theme import WIDTH, Theme
from router_training.evaluate.routed_accuracy import Floats

SHOWN_SHARES = (0.25, 0.5, 0.75, 1.0)
GRID = 201


def build(judgement: Judgement) -> Section:
    """Always there; without a declared default the best base rate stands in for it."""
    default = judgement.default
    column = default.column if default is not None else int(judgement.bundle.tensors["novelty.base_rates"].argmax())
    name = judgement.models[column]
    return Section(
        title="Abstention",
        lead=(
            "Left: the error rate among the queries whose choice was promised most, as more of them are counted; a "
            f"router that knows what it knows starts low. Right: what is earned if only queries with a gain above a "
            f"threshold are routed and {name} answers the rest. All queries count alike here."
            + ("" if default is None else f" The bundle's threshold for it is {default.threshold:.4g}.")
        ),
        pictures=(
            Picture(
                "risk_coverage",
                "Risk-coverage curve, and accuracy with abstention against the share of queries routed.",
                (WIDTH, 3.4),
                lambda figure, theme: _draw(figure, theme, judgement, column),
            ),
        ),
        tables=(_risks(judgement), *_thresholds(judgement, name, default)),
    )


def risk_coverage(judgement: Judgement) -> tuple[Floats, Floats]:
    """Share of queries counted, most confident first (N,), and the error rate among them (N,)."""
    order = np.argsort(-judgement.chosen_probability, kind="stable")
    counted = np.arange(1, len(order) + 1)
    risk: Floats = np.cumsum(1 - judgement.earned[order]) / counted
    return counted / len(order), risk


def _risks(judgement: Judgement) -> TextTable:
    coverage, risk = risk_coverage(judgement)
    rows = tuple(
        (f"{100 * share:.0f}", percent(risk[max(int(np.ceil(share * len(coverage))) - 1, 0)])) for share in SHOWN_SHARES
    )
    return TextTable("Error rate among the most confident queries", ("share of queries, %", "error rate, %"), rows)


def _thresholds(judgement: Judgement, name: str, default: Default | None) -> list[TextTable]:
    if default is None:
        return []
    shares = sorted({0.0, default.threshold, 0.01, 0.02, 0.05, 0.1})
    rows = []
    for threshold in shares:
        result = coverage_at_regret(
            judgement.probability, judgement.choice, judgement.credit, default.column, threshold
        )
        mark = " (the bundle's)" if threshold == default.threshold else ""
        rows.append((f"{threshold:.4g}{mark}", percent(result.coverage), points(-result.regret)))
    header = ("least gain", "routed, %", "earned beyond the default, points")
    return [TextTable(f"Routing only where the gain over {name} is large enough", header, tuple(rows))]


def _draw(figure: Figure, theme: Theme, judgement: Judgement, column: int) -> None:
    left, right = figure.subplots(1, 2)
    coverage, risk = risk_coverage(judgement)
    left.plot(100 * coverage, 100 * risk, color=theme.color(0))
    left.set_xlabel("most confident queries, %")
    left.set_ylabel("error rate, %")
    left.set_ylim(bottom=0)
    routed, earned = _abstention_curve(judgement, column)
    right.plot(100 * routed, 100 * earned, color=theme.color(2))
    right.axhline(100 * judgement.credit[:, column].mean(), color=theme.faint, linestyle="--", linewidth=1.2)
    if judgement.default is not None:
        place = coverage_at_regret(
            judgement.probability, judgement.choice, judgement.credit, column, judgement.default.threshold
        )
        accuracy = judgement.credit[:, column].mean() - place.regret
        right.plot(100 * place.coverage, 100 * accuracy, marker="D", color=theme.ink, markersize=8)
    right.set_xlabel("routed, %")
    right.set_ylabel("accuracy, %")


def _abstention_curve(judgement: Judgement, column: int) -> tuple[Floats, Floats]:
    """Share routed and accuracy for thresholds at quantiles of the gain, none routed first."""
    gain_N = gain_over_default(judgement.probability, judgement.choice, column)
    rows = np.arange(len(gain_N))
    thresholds = [float(gain_N.max()) + 1, *np.quantile(gain_N, np.linspace(1, 0, GRID))]
    shares, earned = [], []
    for threshold in thresholds:
        answering = choice_with_abstention(judgement.probability, judgement.choice, column, threshold)
        shares.append(float((gain_N >= threshold).mean()))
        earned.append(float(judgement.credit[rows, answering].mean()))
    return np.array(shares), np.array(earned)
