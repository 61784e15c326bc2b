"""Scored queries and what a bundle says of them: the one way both `evaluate` and `report` read data and route it.

Promises: nothing is guessed: a missing metric, an unreadable file, one given twice or a table without one of the
bundle's models is refused before an encoder is loaded. Columns of every array are the bundle's models, in its order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from router_core.bundle import RouterBundle, Scores
from router_core.scoring.prior_residual import PriorResidual
from router_core.scoring.task_prior import TaskPrior
from router_core.table import Table, read_table
from router_core.tensors import FloatArray
from router_training.errors import DataError, JobConfigError
from router_training.evaluate.abstention import Default, choice_with_abstention, gain_over_default
from router_training.evaluate.duplicates import duplicates_of, name_rows
from router_training.evaluate.routed_accuracy import METRICS, Floats, Indices, Metric, RoutedFile, credit_of_scores
from router_training.routers.encoder import load_bundle_encoder

Encode = Callable[[Sequence[str]], tuple[FloatArray, FloatArray]]
"""Texts -> their vectors (N, D) and the share of each that was cut off (N,)."""


@dataclass(frozen=True)
class EvaluationFile:
    """A table, its metric and its path as the user wrote it."""

    name: str
    metric: Metric
    table: Table


@dataclass(frozen=True)
class JudgedFile:
    """One file, routed. `duplicates` are rows that stand in the training data, None where the bundle does not say."""

    source: EvaluationFile
    routed: RoutedFile
    scores: Scores
    vectors: FloatArray
    prior_choice: Indices | None
    """What the bundle's task prior alone would choose (N,); None if its scorer has none."""
    duplicates: Indices | None

    @property
    def probability(self) -> Floats:
        """Stated probability (N, M) that each model answers right."""
        return self.scores.probability.astype(np.float64)

    @property
    def chosen_probability(self) -> Floats:
        """Stated probability (N,) of the chosen model."""
        stated: Floats = self.probability[np.arange(len(self.routed.choice)), self.routed.choice]
        return stated

    def coverage(self, default: Default) -> float:
        """Share of queries that are routed and not left to the default."""
        gain_N = gain_over_default(self.probability, self.routed.choice, default.column)
        return float((gain_N >= default.threshold).mean())

    def with_abstention(self, default: Default) -> RoutedFile:
        """The choices of a router that leaves to the default what promises too little."""
        choice = choice_with_abstention(self.probability, self.routed.choice, default.column, default.threshold)
        return RoutedFile(self.routed.name, self.routed.credit, choice)


def read_evaluation_files(texts: Sequence[str], models: Sequence[str]) -> list[EvaluationFile]:
    """Read every FILE:METRIC. Raises as `read_evaluation_file`, and JobConfigError for a file given twice."""
    files = [read_evaluation_file(text, models) for text in texts]
    names = [file.name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise JobConfigError(f"--data {twice[0]}: given twice; its figures would be counted twice in the mean")
    return files


def read_evaluation_file(text: str, models: Sequence[str]) -> EvaluationFile:
    """Read FILE:METRIC. Raises JobConfigError for a bad metric, TableError, DataError if one of `models` is missing."""
    path, colon, suffix = text.rpartition(":")
    metric = next((metric for metric in METRICS if metric == suffix), None)
    if not colon or not path or metric is None:
        raise JobConfigError(f"--data {text}: must end in :{' or :'.join(METRICS)}, as in results.jsonl:{METRICS[0]}")
    table = read_table(path)
    missing = [model for model in models if model not in table.models]
    if missing:
        raise DataError(
            f"{path}: does not score {', '.join(missing)}, which the bundle routes to; it scores "
            f"{', '.join(table.models)}"
        )
    return EvaluationFile(path, metric, table)


def refuse_duplicates(bundle: RouterBundle, files: Sequence[EvaluationFile]) -> None:
    """What --strict-splits does. Raises DataError if a question stands in the training data, or if none can tell."""
    hashes = bundle.question_hashes
    if hashes is None:
        raise DataError(
            f"--strict-splits: {bundle.path} does not say which questions it was trained on; train it again, or leave "
            "--strict-splits out"
        )
    found = [(file, row) for file in files for row in duplicates_of(file.table.questions, hashes)]
    if found:
        file, row = found[0]
        raise DataError(
            f"--strict-splits: {len(found)} question(s) stand verbatim in the bundle's training data; the first is "
            f"{file.table.rows[row].id} of {file.name}: take them out"
        )


def judge(bundle: RouterBundle, file: EvaluationFile, encode: Encode) -> JudgedFile:
    """Route every query of a file. Raises BundleError."""
    columns = [file.table.models.index(model) for model in bundle.models]
    vectors, lost = encode(file.table.questions)
    scores = bundle.router.score(vectors, lost)
    credit = credit_of_scores(file.table.scores[:, columns], file.metric)
    hashes = bundle.question_hashes
    return JudgedFile(
        source=file,
        routed=RoutedFile(file.name, credit, scores.ranking()[:, 0]),
        scores=scores,
        vectors=vectors,
        prior_choice=_prior_choice(bundle, vectors),
        duplicates=None if hashes is None else duplicates_of(file.table.questions, hashes),
    )


def duplicate_lines(files: Sequence[JudgedFile], *, with_folders: bool = True) -> list[str]:
    """What to say of the questions that stand in the training data, and what routing earns without them."""
    lines = []
    for file in files:
        rows = file.duplicates
        if rows is None or not len(rows):
            continue
        earned = file.routed.routed_credit
        rest = np.delete(earned, rows)
        without = f"{100 * rest.mean():.2f}" if len(rest) else "nothing is left"
        where = file.source.name if with_folders else Path(file.source.name).name
        names = name_rows([file.source.table.rows[row].id for row in rows])
        lines.append(
            f"{where}: {len(rows)} of {len(earned)} questions stand verbatim in the training data ({names}); routed "
            f"{100 * earned.mean():.2f} with them, {without} without"
        )
    if any(file.duplicates is None for file in files):
        lines.append("the bundle does not say which questions it was trained on, so duplicates are not counted")
    return lines


def encoder_of(bundle: RouterBundle, device: str) -> Encode:
    """The encoder that the bundle carries or names, with a bar. Raises JobConfigError, BundleError."""
    encoder = load_bundle_encoder(bundle, device=device)
    return lambda texts: encoder.encode(
        texts, progress=lambda steps: tqdm(steps, desc="embed", unit="batch", mininterval=1)
    )


def _prior_choice(bundle: RouterBundle, vectors: FloatArray) -> Indices | None:
    scorer = bundle.router.scorer
    prior = scorer.prior if isinstance(scorer, PriorResidual) else scorer
    return prior.quality(vectors).argmax(axis=1) if isinstance(prior, TaskPrior) else None
