"""Write the demo's data: queries for the router (committed) and the specialists' training sets (made on the fly).

    deploy/demo/data/router_train.jsonl, router_test.jsonl    queries with verifiable answers
    deploy/demo/data/report.json                              counts, and the duplicates that were removed
    .cache/demo/sft/<specialist>.jsonl, multi.jsonl           prompt and completion; multi is the union of the others

Duplicates: within a set only exact ones are removed; across sets also those that differ in their digits alone (each
digit masked as #), from the set that is used earlier: a test query never gives way, a training text does.

    python -m deploy.demo.make_data
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from deploy.demo.families import FAMILIES, SPECIALISTS, Item, Split

DATA = Path("deploy/demo/data")
SFT = Path(".cache/demo/sft")
SEEDS: dict[Split, int] = {"sft": 7, "router_train": 501, "router_test": 9001}
QUERIES_PER_FAMILY: dict[Split, int] = {"sft": 0, "router_train": 72, "router_test": 60}
# One optimiser step takes 8 examples, and every job passes once over its set: these are steps x 8 in all.
SFT_STEPS = {"json": 50, "nsort": 100, "wrev": 89, "math": 261}
BATCH_SIZE = 8
_ATTEMPTS_PER_ITEM = 50


def masked(question: str) -> str:
    """A question with every digit masked, spacing and case put aside: what a numeric duplicate shares."""
    return re.sub(r"\d", "#", " ".join(question.split()).casefold())


def generate(family: str, split: Split, count: int, removed: Callable[[str], None], barred: set[str]) -> list[Item]:
    """`count` items without exact duplicates and without a masked twin in `barred` (fewer if the family is small)."""
    rng = Random(f"{SEEDS[split]}:{family}")  # noqa: S311 - data must repeat, not surprise
    items: dict[str, Item] = {}
    for _ in range(count * _ATTEMPTS_PER_ITEM):
        if len(items) == count:
            break
        item = FAMILIES[family](split, rng)
        if item.question in items:
            removed("exact_within")
        elif masked(item.question) in barred:
            removed("masked_across")
        else:
            items[item.question] = item
    return list(items.values())


def make_data(data: Path = DATA, sft: Path = SFT, *, log: Callable[[str], None] = print) -> dict[str, object]:
    """Write every file and return the report."""
    counts: dict[str, dict[str, int]] = {}
    removals: dict[str, dict[str, int]] = {}
    barred: set[str] = set()
    queries: dict[Split, list[Item]] = {}
    for split in ("router_test", "router_train"):
        queries[split] = []
        for family in FAMILIES:
            queries[split] += _counted(family, split, QUERIES_PER_FAMILY[split], removals, barred)
        counts[split] = _per_task(queries[split])
        barred |= {masked(item.question) for item in queries[split]}
    taught: dict[str, list[Item]] = {}
    for specialist, families in SPECIALISTS.items():
        each = SFT_STEPS[specialist] * BATCH_SIZE // len(families)
        taught[specialist] = [one for name in families for one in _counted(name, "sft", each, removals, barred)]
        Random(SEEDS["sft"]).shuffle(taught[specialist])  # noqa: S311 - as above
    counts["sft"] = _per_task([item for items in taught.values() for item in items])
    for split, items in queries.items():
        _write_lines(data / f"{split}.jsonl", [_query(split, number, item) for number, item in enumerate(items)])
    for specialist, items in taught.items():
        _write_lines(sft / f"{specialist}.jsonl", [_example(item) for item in items])
    union = [_example(item) for items in taught.values() for item in items]
    _write_lines(sft / "multi.jsonl", Random(SEEDS["sft"]).sample(union, len(union)))  # noqa: S311 - as above
    report = {"seeds": dict(SEEDS), "counts": counts, "removed": removals, "shared_wordings": _shared(queries, taught)}
    (data / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    log(json.dumps(report, indent=2))
    return report


def _counted(
    family: str, split: Split, count: int, removals: dict[str, dict[str, int]], barred: set[str]
) -> list[Item]:
    tally = removals.setdefault(split, {"exact_within": 0, "masked_across": 0})

    def removed(reason: str) -> None:
        tally[reason] += 1

    return generate(family, split, count, removed, barred)


def _per_task(items: list[Item]) -> dict[str, int]:
    return {task: sum(item.task == task for item in items) for task in FAMILIES if any(i.task == task for i in items)}


def _shared(queries: dict[Split, list[Item]], taught: dict[str, list[Item]]) -> int:
    """How many wordings two of the three sets have in common (0, or the report says so)."""
    sets = [{item.template for item in items} for items in queries.values()]
    sets.append({item.template for items in taught.values() for item in items})
    return sum(len(one & other) for index, one in enumerate(sets) for other in sets[index + 1 :])


def _query(split: Split, number: int, item: Item) -> dict[str, object]:
    return {
        "id": f"{split}:{item.task}:{number}",
        "question": item.question,
        "task": item.task,
        "answer": item.answer.model_dump(mode="json", exclude_defaults=True),
        "template": item.template,
        "group": f"{item.task}: {item.ask}",
    }


def _example(item: Item) -> dict[str, object]:
    return {"prompt": item.question, "completion": item.target}


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> int:
    """Write the data and print the report."""
    argparse.ArgumentParser(description="Write the demo's queries and training sets.").parse_args()
    make_data()
    return 0


if __name__ == "__main__":
    sys.exit(main())
