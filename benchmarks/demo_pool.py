"""How well the demo's bundle routes the held-out queries of the demo's real pool: writes a section of docs/results.md.

Reads what scoring and training wrote (deploy/demo/table/test.jsonl and deploy/demo/bundle) and asks nothing of a model.
Every rival answers the same queries: each single model (among them the multi-task adapter, trained for as many steps as
all specialists together), a router of hand-written keyword rules, a random model, and the per-query oracle. Intervals
are 95% percentile bootstraps over queries; differences are paired, query by query.

    python -m benchmarks.demo_pool

Leaves out: the spread over training seeds (there is one pool and one bundle).
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import provenance, write_section
from router_core.bundle import load_bundle
from router_core.scoring import scorer_from_bundle
from router_core.table import Table, read_table
from router_training.routers.encoder import load_bundle_encoder

Floats = npt.NDArray[np.float64]
RESAMPLES = 10_000
DEMO = Path("deploy/demo")

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


def interval(values_N: Floats) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean over queries (fixed seed, so that the page repeats)."""
    rng = np.random.default_rng(0)
    means = [values_N[rng.integers(0, len(values_N), len(values_N))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def percent(values_N: Floats) -> str:
    """`61.3 [58.0, 64.6]`."""
    low, high = interval(values_N)
    return f"{100 * values_N.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def verdict(difference_N: Floats) -> str:
    """What the paired interval says, in words."""
    low, high = interval(difference_N)
    return "beats" if low > 0 else "loses to" if high < 0 else "is not distinguishable from"


def rows(table: Table, routed_N: npt.NDArray[np.intp]) -> dict[str, Floats]:
    """Score of every contender on every query, by the contender's name."""
    every = np.arange(len(table.questions))
    keyword = np.array([keyword_choice(question, table.models) for question in table.questions])
    contenders = {
        "**routed (RouterDC bundle)**": table.scores[every, routed_N],
        "keyword rules": table.scores[every, keyword],
        "random model": table.scores.mean(axis=1),
        "oracle (best model per query)": table.scores.max(axis=1),
    }
    for column, model in enumerate(table.models):
        contenders[f"always `{model}`"] = table.scores[:, column]
    return contenders


def render(table: Table, routed_N: npt.NDArray[np.intp], report: dict[str, object]) -> str:
    """The section as Markdown."""
    contenders = rows(table, routed_N)
    routed = contenders["**routed (RouterDC bundle)**"]
    best_column = int(table.scores.mean(axis=0).argmax())
    best = table.scores[:, best_column]
    lines = [
        "## The demo's pool: real models, held-out wordings",
        "",
        provenance("python -m benchmarks.demo_pool"),
        "",
        "Fraction of held-out queries answered right, in percent, with 95% bootstrap intervals over queries. No",
        "wording of a held-out query was seen by any specialist or by the router. The best single model is picked on",
        "these very queries, which favours it.",
        "",
        f"Routed minus best single model (`{table.models[best_column]}`), paired: {percent(routed - best)} points; "
        f"routed minus keyword rules, paired: {percent(routed - contenders['keyword rules'])} points; "
        f"n = {len(routed)}. So on this pool the router {verdict(routed - best)} the best single model and "
        f"{verdict(routed - contenders['keyword rules'])} keyword rules.",
        "",
        "| contender | n | right, % [95%] |",
        "| --- | --- | --- |",
        *(f"| {name} | {len(scores)} | {percent(scores)} |" for name, scores in contenders.items()),
        "",
        *by_task(table, routed),
        "",
        "Queries of each set, and duplicates removed (exact ones within a set; across sets also those that differ only "
        f"in their digits): `{json.dumps(report['counts'])}`, `{json.dumps(report['removed'])}`.",
    ]
    return "\n".join(lines)


def summary(table: Table, routed_N: npt.NDArray[np.intp]) -> str:
    """The README's few lines: who answers how many held-out queries right."""
    contenders = rows(table, routed_N)
    best = table.models[int(table.scores.mean(axis=0).argmax())]
    shown = {
        "routed by the bundle": contenders["**routed (RouterDC bundle)**"],
        f"best single model, `{best}`": contenders[f"always `{best}`"],
        "hand-written keyword rules": contenders["keyword rules"],
        "random model": contenders["random model"],
        "oracle: the best model for each query": contenders["oracle (best model per query)"],
    }
    difference = shown["routed by the bundle"] - contenders[f"always `{best}`"]
    lines = [
        f"| {len(table.questions)} held-out queries of the demo's pool | answered right, % [95%] |",
        "| --- | --- |",
        *(f"| {name} | {percent(scores)} |" for name, scores in shown.items()),
        "",
        f"The router {verdict(difference)} the best single model here, paired: {percent(difference)} points.",
        provenance("python -m benchmarks.demo_pool"),
    ]
    return "\n".join(lines)


def by_task(table: Table, routed_N: Floats) -> list[str]:
    """Mean score per task: routed beside every model."""
    tasks = sorted({task or "" for task in table.tasks})
    lines = ["| task | n | routed | " + " | ".join(f"`{model}`" for model in table.models) + " |"]
    lines.append("| --- " * (3 + len(table.models)) + "|")
    for task in tasks:
        here = np.array([each == task for each in table.tasks])
        cells = [routed_N[here].mean(), *table.scores[here].mean(axis=0)]
        lines.append(f"| {task} | {here.sum()} | " + " | ".join(f"{100 * cell:.0f}" for cell in cells) + " |")
    return lines


def main() -> None:
    """Compute every row and write the section."""
    parser = argparse.ArgumentParser(description="Routed accuracy on the demo pool's held-out queries.")
    parser.add_argument("--bundle", type=Path, default=DEMO / "bundle")
    parser.add_argument("--table", type=Path, default=DEMO / "table" / "test.jsonl")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    args = parser.parse_args()

    bundle = load_bundle(args.bundle)
    table = read_table(args.table)
    encoder = load_bundle_encoder(bundle)
    similarities = scorer_from_bundle(bundle).score(encoder.embed(table.questions)).similarities
    columns = np.array([table.models.index(name) for name in bundle.models])
    routed = columns[similarities.argmax(axis=1)]
    report = json.loads((DEMO / "data" / "report.json").read_text(encoding="utf-8"))
    section = render(table, routed, report)
    write_section(args.results, "demo_pool", section)
    write_section(args.readme, "demo_pool", summary(table, routed))
    print(section)


if __name__ == "__main__":
    main()
