"""What is told of the default router alone, in Markdown: gains within a task, texts it never saw, trust, duplicates.

Every sentence is made from the figures beside it; a gain is claimed only where its interval lies above zero.

Axis suffixes: N test queries, M models.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from benchmarks.paired import Difference, listed, paragraph, percent, table, verdicts
from benchmarks.served import Routed, Served
from benchmarks.sides import Sides, earned_by
from benchmarks.text_variants import Variant
from router_training.evaluate.abstention import choice_with_abstention, coverage_at_regret, default_of
from router_training.evaluate.duplicates import duplicates_of, hashes_of
from router_training.evaluate.gains import mean_paired_gain, paired_gain_within_task, worst_task_regret
from router_training.evaluate.probability_error import brier, expected_calibration_error
from router_training.evaluate.routed_accuracy import Floats, Indices
from router_training.routers.methods.base import task_weights

_RESAMPLES = 10_000


def within_tasks(sides: Sides, choices: Mapping[str, Indices], bundle_notes: str) -> str:
    """The first of `choices` beside the second, task by task; the worst task of each."""
    (ours, our_choice), (rival, rival_choice) = list(choices.items())[:2]
    files, rival_files = sides.files(our_choice), [file.choice for file in sides.files(rival_choice)]
    gains = paired_gain_within_task(files, rival_files, resamples=_RESAMPLES, seed=0)
    gains.append(mean_paired_gain(files, rival_files, resamples=_RESAMPLES, seed=0))
    lines = [
        [gain.name, str(gain.n), _points(gain.gain, *gain.interval), f"{100 * gain.differing:.1f}"] for gain in gains
    ]
    proven = [gain.name for gain in gains[:-1] if gain.interval[0] > 0]
    lost = [gain.name for gain in gains[:-1] if gain.interval[1] < 0]
    worst = {name: worst_task_regret(sides.files(choice)) for name, choice in choices.items()}
    regrets = "; ".join(f"{name} {100 * regret:.2f} points on {task}" for name, (task, regret) in worst.items())
    text = paragraph(f"""
        {bundle_notes} The paired interval lies above zero on: {listed(proven)}; below zero on: {listed(lost)}.
        Worst-task regret (best LLM of a task minus the router on it, at its highest): {regrets}.""")
    header = ["task", "n", f"{ours} minus {rival}, points [95%]", "routed differently, %"]
    return f"{table(header, lines)}\n\n{text}"


def residual_notes(served: Served) -> str:
    """Which residual the default kept, and how the tried ones did on train."""
    record = served.bundle.manifest.evaluation.get("residuals")
    if not isinstance(record, dict) or not isinstance(record["tried"], list):
        return ""
    kept = record["kept"]
    tried = [one for one in record["tried"] if isinstance(one, dict)]
    best = max(tried, key=lambda one: float(str(one["gain"])), default=None)
    if isinstance(kept, dict):
        return f"The default kept the residual {kept['method']} {kept['setting']}, of {len(tried)} tried."
    if best is None:
        return "The default tried no residual."
    gain, *ends = (float(str(figure)) for figure in [best["gain"], *_items(best["interval"])])
    return f"""
        The default tried {len(tried)} residuals on top of its prior and kept none: the best of them, {best["method"]}
        {best["setting"]}, gained {_points(gain, *ends)} points out of fold on train, with an
        interval widened for their number. So it routes by its prior and its calibration."""


def unlike_the_benchmark(sides: Sides, variants: Sequence[Variant], served: Served) -> str:
    """Accuracy of the default and of the task prior on changed texts, beside the best single model."""
    lines: list[list[str]] = []
    found: dict[str, dict[str, Difference]] = {"task prior": {}, "best single LLM": {}}
    for variant in variants:
        routed = served.route(variant.questions)
        ours, theirs = (earned_by(choice, variant.credit) for choice in (routed.choice, prior_of(routed)))
        parts = [_split(values, variant.tasks) for values in (ours, theirs, variant.credit[:, sides.best_single])]
        differences = [Difference.paired(parts[0], part) for part in parts[1:]]
        means = [f"{100 * np.mean([part.mean() for part in one]):.2f}" for one in parts]
        lines.append([variant.name, str(len(ours)), *means, *map(str, differences)])
        for rival, difference in zip(found, differences, strict=True):
            found[rival][variant.name] = difference
    header = ["test queries", "n", "default", "task prior", "best single LLM on train"]
    header += ["default minus task prior", "default minus best single"]
    told = " ".join(f"Beside the {rival}, the default {verdicts(each, of='queries')}." for rival, each in found.items())
    text = paragraph(f"""
        {told} No model was asked the changed texts: its score on the plain query stands in, and a pair earns the mean
        of both its queries.""")
    return f"{table(header, lines)}\n\n{text}"


def trust(sides: Sides, served: Served, routed: Routed) -> str:
    """Calibration on test before and after, and abstention with the thresholds that train gave."""
    credit = sides.test.credit
    stated = {"as served": routed.probability}
    if served.bundle.router.scorer.gives_probabilities:
        stated = {"scorer alone": np.clip(routed.scores.quality.astype(np.float64), 0, 1), **stated}
    weightings = {"every query alike": None, "every task alike": task_weights(sides.test.tasks)}
    lines = [
        [
            name,
            weighting,
            f"{expected_calibration_error(probability, credit, weights):.4f}",
            f"{brier(probability, credit, weights):.4f}",
        ]
        for name, probability in stated.items()
        for weighting, weights in weightings.items()
    ]
    method = served.bundle.manifest.calibration.method
    how = paragraph(f"""
        Calibration chosen on held-out folds of train: {method}. The pairs are every query with every model,
        {credit.size} in all; 15 bins. {_abstention(sides, served, routed)}""")
    return f"{table(['stated probabilities', 'weights', 'ECE', 'Brier'], lines)}\n\n{how}"


def _abstention(sides: Sides, served: Served, routed: Routed) -> str:
    default, spec = default_of(served.bundle), served.bundle.manifest.abstention
    if default is None or spec is None:
        return "The bundle has no abstention thresholds: train is too small."
    probability, choice_N, credit = routed.probability, routed.choice, sides.test.credit
    found = coverage_at_regret(probability, choice_N, credit, default.column, default.threshold)
    answering_N = choice_with_abstention(probability, choice_N, default.column, default.threshold)
    regret = Difference.of([credit[:, default.column] - earned_by(answering_N, credit)])
    name = served.bundle.models[default.column]
    bound = 100 * spec.max_regret
    earned = [credit[:, default.column], earned_by(choice_N, credit), earned_by(answering_N, credit)]
    alone, always, unless = (percent([values], 2) for values in earned)
    kept = "keeps" if regret.high <= bound else "breaks" if regret.low > bound else "may or may not keep"
    return f"""
        Abstention: the default model is `{name}`, the best single one on train, and a query is routed away from it only
        for a promised gain of at least {default.threshold:.3f}, the threshold that train gave for a regret of at most
        {bound:g}%. On test {100 * found.coverage:.1f}% of the queries are routed (out of fold on train
        {100 * spec.coverage[name]:.1f}%), with a regret of {regret} points against always asking the default model
        (negative: routing earns more), which {kept} the bound. Accuracy per query:
        {alone} for the default model alone, {always} routed, {unless} with abstention."""


def duplicates(sides: Sides, earned_N: Floats) -> str:
    """Test questions that stand in train, and what the default earns with and without them."""
    found = duplicates_of(sides.test.questions, hashes_of(sides.train.questions))
    is_new = np.ones(len(earned_N), dtype=bool)
    is_new[found] = False
    lines, rests = [], []
    for task in sides.tasks:
        rows = sides.rows(task)
        rest = rows[is_new[rows]]
        rests.append(earned_N[rest])
        names = [str(place) for place, row in enumerate(rows) if not is_new[row]]
        lines.append([task, str(len(names)), _percent(earned_N[rows]), _percent(earned_N[rest]), ", ".join(names)])
    means = [float(np.mean([part.mean() for part in parts])) for parts in (sides.by_task(earned_N), rests)]
    lines.append(["mean", str(len(found)), *(f"{100 * mean:.2f}" for mean in means), ""])
    header = ["task", "duplicates", "default, all test queries", "without duplicates", "rows of the test file, from 0"]
    text = paragraph(f"""
        {len(found)} of {len(earned_N)} test questions stand in train, case and spacing put aside. They stay in every
        figure of this page; without them the default's mean is {100 * (means[1] - means[0]):+.2f} points away.""")
    return f"{table(header, lines)}\n\n{text}"


def _items(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def prior_of(routed: Routed) -> Indices:
    """The choices (N,) of the task prior inside the bundle. Raises ValueError if there is none."""
    if routed.prior_choice is None:
        raise ValueError("the bundle has no task prior; train it with --method prior_residual")
    return routed.prior_choice


def _split(values_N: Floats, tasks: Sequence[str]) -> list[Floats]:
    names = np.array(tasks)
    return [values_N[names == name] for name in sorted(set(tasks))]


def _points(gain: float, low: float, high: float) -> str:
    return str(Difference(100 * gain, 100 * low, 100 * high))


def _percent(values_N: Floats) -> str:
    return f"{100 * values_N.mean():.2f}"
