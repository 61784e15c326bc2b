"""The sections about the demo's pool, of docs/results.md and of the README, as Markdown made from what was found.

Axis suffixes: N queries, M models.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from benchmarks.contenders import Result
from benchmarks.cost_dial import cost_dial
from benchmarks.default_sections import residual_notes, trust, within_tasks
from benchmarks.demo_contenders import (
    ORACLE,
    RANDOM,
    ROUTED,
    RULES,
    always,
    best_single,
    contender_table,
    headline,
    task_table,
)
from benchmarks.learning_curve import learning_section
from benchmarks.paired import Difference, listed, paragraph, percent, table, verdicts
from benchmarks.report import provenance
from benchmarks.served import Routed, Served
from benchmarks.sides import Sides
from router_training.evaluate.routed_accuracy import Floats
from router_training.routers.learning_curve import Measurement

# Declared for the dial alone, in the order of how much each model can do; nothing here was measured or is charged.
EXAMPLE_PRICES: Mapping[str, float] = {"smollm2": 1.0, "smollm2-multi": 4.0}
EXAMPLE_PRICE_OF_A_SPECIALIST = 2.0
ORIGIN = """
    All models here are one base of 135M parameters, with adapters of one shape: they cost the same, so this pool has no
    real trade between cost and quality. To show the dial, these are example prices, declared and not measured:"""


@dataclass(frozen=True)
class Pool:
    """What was found. `earned` are credits (N,) by contender; `results` the methods trained on the demo's table.

    `learning` are the measurements of each model that was taken out and added again.
    """

    sides: Sides
    served: Served
    routed: Routed
    earned: dict[str, Floats]
    results: tuple[Result, ...]
    seeds: tuple[int, ...]
    learning: Mapping[str, tuple[Measurement, ...]]


def render(pool: Pool, report: Mapping[str, JsonValue], command: str) -> str:
    """The section of docs/results.md; `report` is what making the queries said of their numbers."""
    sides = pool.sides
    prior = pool.results[0]
    best = np.full(len(sides.test), sides.test.models.index(best_single(sides)))
    choices = {"bundle": pool.routed.choice, prior.label: prior.choices[0], "best single model": best}
    prices = {name: EXAMPLE_PRICES.get(name, EXAMPLE_PRICE_OF_A_SPECIALIST) for name in sides.test.models}
    blocks = [
        "## The demo's pool: real models, held-out wordings",
        provenance(command),
        paragraph(f"""
            Fraction of held-out queries answered right, in percent, with 95% bootstrap intervals over queries. No
            wording of a held-out query was seen by any specialist or by the router. The best single model is picked on
            these very queries, which favours it. {headline(sides, pool.earned)}"""),
        contender_table(pool.earned),
        task_table(sides, pool.routed.choice),
        "### Every method on the demo's table",
        _methods(pool),
        "### Within a task of the demo",
        within_tasks(sides, choices, residual_notes(pool.served)),
        "### Probabilities and abstention on the demo's pool",
        trust(sides, pool.served, pool.routed),
        "### The cost dial",
        cost_dial(sides.test.models, pool.routed.probability, sides.test.credit, prices, ORIGIN),
        *(["### A model added to the router", learning_section(pool.learning)] if pool.learning else []),
        "### The queries",
        paragraph(f"""
            Queries of each set, and duplicates removed (exact ones within a set; across sets also those that differ
            only in their digits): `{json.dumps(report["counts"])}`, `{json.dumps(report["removed"])}`."""),
    ]
    return "\n\n".join(blocks)


def summary(pool: Pool, command: str) -> str:
    """The README's few lines: who answers how many held-out queries right."""
    best = best_single(pool.sides)
    shown = {
        "routed by the bundle": ROUTED,
        f"best single model, `{best}`": always(best),
        "hand-written keyword rules": RULES,
        "random model": RANDOM,
        "oracle: the best model for each query": ORACLE,
    }
    difference = Difference.paired([pool.earned[ROUTED]], [pool.earned[always(best)]])
    header = [f"{len(pool.sides.test)} held-out queries of the demo's pool", "answered right, % [95%]"]
    lines = [
        table(header, [[label, percent([pool.earned[name]])] for label, name in shown.items()]),
        f"\nThe router {difference.verdict} the best single model here, paired: {difference} points.",
        provenance(command),
    ]
    return "\n".join(lines)


def _methods(pool: Pool) -> str:
    """Every method beside the task prior and the best single model; means over queries, of which tasks have equal n."""
    prior, best = pool.results[0].mean_earned, pool.earned[always(best_single(pool.sides))]
    runs: dict[str, Sequence[Floats]] = {ROUTED: [pool.earned[ROUTED]]}
    runs |= {result.label: result.earned for result in pool.results}
    lines, to_prior, to_best = [], {}, {}
    for label, earned in runs.items():
        mean_N = np.mean(earned, axis=0)
        to_prior[label], to_best[label] = (Difference.paired([mean_N], [rival]) for rival in (prior, best))
        spread = f" +- {100 * np.std([run.mean() for run in earned], ddof=1):.1f}" if len(earned) > 1 else ""
        is_prior = label == pool.results[0].label
        cells = [f"{percent([mean_N])}{spread}", "" if is_prior else str(to_prior[label]), str(to_best[label])]
        lines.append([label, *cells])
    del to_prior[pool.results[0].label]
    header = ["trained on the demo's table", "right, % [95%]", "minus task prior", "minus best single model"]
    text = paragraph(f"""
        All on features vectors, settings chosen by cross-validation on the training table; +- is the standard deviation
        over seeds {listed([str(seed) for seed in pool.seeds])} of methods that draw at random, of whose mean the
        intervals are: they cover the draw of queries, not that of seeds. Beside the task
        prior, {verdicts(to_prior, of="routers")}. Beside the best single model, {verdicts(to_best, of="routers")}.""")
    return f"{table(header, lines)}\n\n{text}"
