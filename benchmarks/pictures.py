"""The pictures of the README: what `router-training router report` draws of the default router and of the demo's.

    ROUTERDC_DATA=DIR python -m benchmarks.pictures        (DIR holds train/ and test/; default data/routerdc)

Trains the default router on RouterDC's `train`, reports it on `test` and the demo's bundle on the demo's held-out
queries, and writes docs/pictures/ and the README's section about them. Takes about two minutes.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.demo_sections import EXAMPLE_PRICE_OF_A_SPECIALIST, EXAMPLE_PRICES
from benchmarks.report import provenance, write_section
from benchmarks.sides import ROUTERDC_TASKS
from router_core.bundle import load_bundle
from router_core.publish import publish_file
from router_training.__main__ import main as router_training

DEMO = Path("deploy/demo")
WIDTH = 640
"""Pixels on the page; the files have about twice as many."""


@dataclass(frozen=True)
class Picture:
    """One picture of a report, and what it shows."""

    name: str
    caption: str


ROUTERDC_PICTURES = (
    Picture("task_accuracy", "RouterDC's held-out queries: the default router, every single model, and the oracle"),
    Picture("query_map", "RouterDC's held-out queries in the plane, by the model chosen and by task"),
)
DEMO_PICTURES = (
    Picture("cost_quality", "The demo pool's held-out queries: what the cost dial buys, with example prices"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Report twice, keep the pictures, write the section."""
    args = _parser().parse_args(arguments)
    if not (args.data / "test").is_dir():
        print(f"{args.data}: holds no test/; set ROUTERDC_DATA to the folder of RouterDC's data", file=sys.stderr)
        return 2
    # Before the pictures are in the tree, which then differs from its commit.
    origin = provenance("python -m benchmarks.pictures")
    with tempfile.TemporaryDirectory() as folder:
        of_routerdc, of_demo = Path(folder) / "routerdc", Path(folder) / "demo"
        report_routerdc(args.data, Path(folder) / "bundle", of_routerdc)
        report_demo(of_demo)
        kept = keep(of_routerdc, ROUTERDC_PICTURES, args.pictures) + keep(of_demo, DEMO_PICTURES, args.pictures)
    write_section(args.readme, "pictures", section(args.pictures, origin))
    print(f"wrote {kept} pictures to {args.pictures} and the section pictures of {args.readme}")
    return 0


def report_routerdc(data: Path, bundle: Path, out: Path) -> None:
    """Train the default router as `make router` does, and report it."""
    train = [f"{data / 'train' / task.train}:{task.metric}" for task in ROUTERDC_TASKS]
    test = [f"{data / 'test' / task.test}:{task.metric}" for task in ROUTERDC_TASKS]
    _run("train", "--data", *train, "--out", bundle)
    _run("report", "--bundle", bundle, "--data", *test, "--out", out)


def report_demo(out: Path) -> None:
    """Report the demo's bundle, with prices that are declared for the dial alone."""
    bundle, table = DEMO / "bundle", DEMO / "table" / "test.jsonl"
    costs = [f"{model}={price:g}" for model, price in prices_of(load_bundle(bundle).models).items()]
    _run("report", "--bundle", bundle, "--data", f"{table}:probability", "--costs", *costs, "--out", out)


def prices_of(models: Sequence[str]) -> Mapping[str, float]:
    """The example prices of the demo's models."""
    return {model: EXAMPLE_PRICES.get(model, EXAMPLE_PRICE_OF_A_SPECIALIST) for model in models}


def keep(report: Path, pictures: Sequence[Picture], folder: Path) -> int:
    """Copy the pictures in both themes; how many files."""
    names = [f"{picture.name}{theme}.png" for picture in pictures for theme in ("", "-dark")]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        publish_file(folder / name, (report / name).read_bytes())
    return len(names)


def section(folder: Path, origin: str) -> str:
    """The README's section, in HTML where a picture has to know the reader's theme."""
    parts = []
    for picture in (*ROUTERDC_PICTURES, *DEMO_PICTURES):
        light, dark = folder / f"{picture.name}.png", folder / f"{picture.name}-dark.png"
        parts.append(
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
            f'<img src="{light}" width="{WIDTH}" alt="{picture.caption}"></picture>\n\n{picture.caption}.'
        )
    return "\n\n".join([*parts, f"From `router-training router report`: {origin}"])


def _run(*arguments: str | Path) -> None:
    if status := router_training(["router", *map(str, arguments)]):
        raise SystemExit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA") or "data/routerdc"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
