"""`router-training router report`: everything `evaluate` measures and more, as one HTML page and its pictures.

    router-training router report --bundle DIR --data FILE:METRIC ... --out DIR [--costs ...] [--learning-curves FILE]

writes OUT/report.html, which holds all its pictures, and each picture as OUT/NAME.png and OUT/NAME-dark.png. The same
bundle and data give the same bytes on one machine.

Promises: all that can be refused is refused before the encoder is loaded; each file appears whole or not at all, the
page last; other files in OUT are let be. Unlike `evaluate`, a table whose rows name tasks is split into them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from router_core.bundle import RouterBundle, load_bundle
from router_core.publish import publish_file
from router_training.errors import JobConfigError
from router_training.evaluate.abstention import default_of
from router_training.evaluate.costs import read_costs
from router_training.evaluate.gains import worst_task_regret
from router_training.evaluate.job import add_judging_arguments, refuse_bad_bootstrap
from router_training.evaluate.judging import (
    JudgedFile,
    duplicate_lines,
    encoder_of,
    judge,
    read_evaluation_files,
    refuse_duplicates,
)
from router_training.evaluate.page.html import Card, render_page
from router_training.evaluate.page.judgement import Judgement, tasks_of
from router_training.evaluate.page.learning_file import read_learning_curves
from router_training.evaluate.page.section import Section, interval, percent, points
from router_training.evaluate.page.sections import build_sections
from router_training.evaluate.page.theme import THEMES, render_png
from router_training.evaluate.probability_error import brier, expected_calibration_error
from router_training.evaluate.routed_accuracy import bootstrap_interval

PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the job."""
    add_judging_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="Folder for the page and its pictures.")
    parser.add_argument("--title", default="Router report", help="Heading of the page. Default: Router report")
    parser.add_argument(
        "--learning-curves",
        type=Path,
        metavar="FILE",
        help="JSON Lines of probes, seed, metric, value; adds a section.",
    )
    parser.add_argument("--map", choices=("tsne", "pca"), default="tsne", help="Of the queries. Default: tsne")
    parser.add_argument(
        "--examples", type=int, default=5, help="Questions of costly choices to print; 0 for none. Default: 5"
    )


def run(args: argparse.Namespace) -> int:
    """Judge, draw and write. Raises RouterTrainingError, RouterCoreError."""
    refuse_bad_bootstrap(args)
    if args.examples < 0:
        raise JobConfigError(f"--examples {args.examples}: must be at least 0")
    if args.out.exists() and not args.out.is_dir():
        raise JobConfigError(f"--out {args.out}: is a file; give a folder")
    bundle = load_bundle(args.bundle)
    costs = read_costs(args.costs, bundle.models) if args.costs else None
    learning = read_learning_curves(args.learning_curves) if args.learning_curves else ()
    files = read_evaluation_files(args.data, bundle.models)
    if args.strict_splits:
        refuse_duplicates(bundle, files)
    encode = encoder_of(bundle, args.device)
    judged = [judge(bundle, file, encode) for file in files]
    judgement = Judgement(
        bundle=bundle,
        tasks=tasks_of(judged),
        default=default_of(bundle),
        routable=tuple(judged[0].scores.is_calibrated.tolist()),
        costs=costs,
        learning=learning,
        notes=tuple(_notes(bundle, judged)),
        resamples=args.resamples,
        seed=args.seed,
        projection=args.map,
        examples=args.examples,
    )
    sections = build_sections(judgement)
    images = render_images(sections)
    page = render_page(
        title=args.title,
        under=_under(judgement),
        cards=headline(judgement),
        notes=judgement.notes,
        sections=sections,
        images=images,
        footer=_footer(bundle),
    )
    _publish(args.out, images, page)
    print(f"wrote {args.out / PAGE} and {len(images)} pictures beside it")
    return 0


def render_images(sections: Sequence[Section]) -> dict[tuple[str, str], bytes]:
    """Every picture in every theme."""
    return {
        (picture.name, theme.name): render_png(picture.draw, picture.size, theme)
        for section in sections
        for picture in section.pictures
        for theme in THEMES.values()
    }


def headline(judgement: Judgement) -> list[Card]:
    """The figures to see first."""
    tasks = judgement.routed
    routed = [task.routed_credit for task in tasks]
    gaps = [ours - task.credit[:, judgement.best_single] for ours, task in zip(routed, tasks, strict=True)]
    bounds = bootstrap_interval(gaps, resamples=judgement.resamples, seed=judgement.seed)
    oracle = float(np.mean([task.credit.max(axis=1).mean() for task in tasks]))
    worst, regret = worst_task_regret(tasks)
    ece = expected_calibration_error(judgement.probability, judgement.credit, judgement.weights)
    score = brier(judgement.probability, judgement.credit, judgement.weights)
    return [
        Card(
            "routed accuracy",
            f"{percent(_mean(routed))}%",
            f"mean over {_counted(len(tasks), 'task')}; oracle {percent(oracle)}%",
        ),
        Card(
            "against the best single model",
            f"{points(_mean(gaps))}",
            f"{interval(bounds)} points; {judgement.models[judgement.best_single]}",
        ),
        Card("largest regret on a task", points(regret), f"points below its best model; {worst}"),
        Card("calibration error (ECE)", f"{ece:.3f}", f"Brier score {score:.3f}"),
    ]


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.mean([part.mean() for part in parts]))


def _notes(bundle: RouterBundle, judged: Sequence[JudgedFile]) -> list[str]:
    notes = duplicate_lines(judged, with_folders=False)  # a page travels
    for file in judged:
        extra = [model for model in file.source.table.models if model not in bundle.models]
        if extra:
            notes.append(
                f"{Path(file.source.name).name}: not in the bundle, so left out of every figure: {', '.join(extra)}"
            )
    if bundle.manifest.calibration.pending:
        waiting = ", ".join(bundle.manifest.calibration.pending)
        notes.append(f"not chosen yet, for want of probes: {waiting}")
    return notes


def _under(judgement: Judgement) -> str:
    count = sum(len(task) for task in judgement.tasks)
    parts = _counted(count, "query"), _counted(len(judgement.tasks), "task"), _counted(len(judgement.models), "model")
    return f"{', '.join(parts)}: {', '.join(judgement.models)}"


def _counted(count: int, noun: str) -> str:
    plural = "queries" if noun == "query" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _footer(bundle: RouterBundle) -> str:
    manifest = bundle.manifest
    data = ", ".join(f"{entry.name} ({entry.rows})" for entry in manifest.data)
    return (
        f"Bundle {bundle.digest[:12]}; scorer {manifest.scorer.name}, calibration {manifest.calibration.method}, "
        f"encoder {manifest.encoder.name}" + (f"; trained on {data}" if data else "") + "."
    )


def _publish(folder: Path, images: dict[tuple[str, str], bytes], page: str) -> None:
    try:
        for (name, theme), png in images.items():
            publish_file(folder / f"{name}{'' if theme == 'light' else f'-{theme}'}.png", png)
        publish_file(folder / PAGE, page.encode("utf-8", "replace"))
    except OSError as error:
        raise JobConfigError(f"--out {folder}: cannot be written: {error}") from error
