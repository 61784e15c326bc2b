"""Who answers the demo's held-out queries: the bundle, each single model, keyword rules, a random model, an oracle.

Axis suffixes: N queries.
"""

import re
from collections.abc import Sequence

import numpy as np

from benchmarks.accuracy_table import reference_rows
from benchmarks.paired import Difference, percent, table
from benchmarks.sides import Sides, earned_by
from router_training.evaluate.routed_accuracy import Floats, Indices

ROUTED, RULES, RANDOM = "**routed by the bundle**", "keyword rules", "random model"
TASK_BEST = "best model per task, picked on these queries: not a router"
ORACLE = "oracle (best model per query)"

# Written from what each specialist is for, before any held-out query was looked at; the first match wins.
KEYWORD_RULES: tuple[tuple[str, str], ...] = (
    (r"\bjson\b|\bfields?\b|\bkeys?\b|\bobject\b", "smollm2-json"),
    (r"\bsort|\bascending\b|\bincreasing\b|\bsmallest to\b|\bin order\b", "smollm2-nsort"),
    (r"\brevers|\bbackwards?\b|\blast to first\b|\bopposite order\b", "smollm2-wrev"),
    (r"\bsum\b|\badd\b|\btotal\b|\bplus\b|\bhow many\b|\bcalculate\b|\d\s*[-+]\s*\d", "smollm2-math"),
    (r"", "smollm2"),
)


def keyword_choice(question: str, models: Sequence[str]) -> int:
    """The model that the hand-written rules pick, as an index into `models`."""
    model = next(model for pattern, model in KEYWORD_RULES if re.search(pattern, question, re.IGNORECASE))
    return list(models).index(model)


def always(model: str) -> str:
    """The name of the contender that is one model alone."""
    return f"always `{model}`"


def best_single(sides: Sides) -> str:
    """The model that is best on the held-out queries themselves, which favours it."""
    return sides.test.models[int(sides.test.credit.mean(axis=0).argmax())]


def contenders(sides: Sides, routed_N: Indices) -> dict[str, Floats]:
    """Credit (N,) of every contender on the test side, by the contender's name."""
    test = sides.test
    keyword_N = np.array([keyword_choice(question, test.models) for question in test.questions])
    earned = {
        ROUTED: earned_by(routed_N, test.credit),
        RULES: earned_by(keyword_N, test.credit),
    }
    _, task_best, random, oracle = (row.mean for row in reference_rows(sides))
    earned |= {RANDOM: random, TASK_BEST: task_best, ORACLE: oracle}
    return earned | {always(model): test.credit[:, column] for column, model in enumerate(test.models)}


def contender_table(earned: dict[str, Floats]) -> str:
    """Everyone's accuracy with its interval."""
    lines = [[name, str(len(values)), percent([values])] for name, values in earned.items()]
    return table(["contender", "n", "right, % [95%]"], lines)


def headline(sides: Sides, earned: dict[str, Floats]) -> str:
    """The bundle against its two plain rivals, in one paragraph's words."""
    best = best_single(sides)
    to_best, to_rules = (Difference.paired([earned[ROUTED]], [earned[rival]]) for rival in (always(best), RULES))
    return f"""
        Routed minus best single model (`{best}`), paired: {to_best} points; routed minus keyword rules, paired:
        {to_rules} points; n = {len(sides.test)}. So on this pool the router {to_best.verdict} the best single model and
        {to_rules.verdict} keyword rules."""


def task_table(sides: Sides, routed_N: Indices) -> str:
    """Accuracy per task: routed beside every model."""
    lines = []
    for file in sides.files(routed_N):
        cells = [file.routed_credit.mean(), *file.single]
        lines.append([file.name, str(len(file.choice)), *(f"{100 * cell:.0f}" for cell in cells)])
    return table(["task", "n", "routed", *(f"`{model}`" for model in sides.test.models)], lines)
