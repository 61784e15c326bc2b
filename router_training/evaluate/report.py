"""The printed table of a router evaluation: one block per file and one for their mean, in percent.

An interval in brackets is a 95% bootstrap over queries; differences are paired, query by query. ECE (15 equal-width
bins) and Brier score are of the stated probabilities; in the mean every file weighs the same.
"""

from collections.abc import Sequence

import numpy as np

from router_training.evaluate.abstention import Default
from router_training.evaluate.cost_curve import CostQuality, cost_quality
from router_training.evaluate.judging import JudgedFile
from router_training.evaluate.probability_error import brier, expected_calibration_error
from router_training.evaluate.routed_accuracy import (
    Floats,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    bootstrap_interval,
    mean_accuracies,
)


def render_report(
    models: Sequence[str], files: Sequence[JudgedFile], resamples: int, seed: int, default: Default | None = None
) -> str:
    """Every file beside every single model, then the mean over files. `default` answers where the router abstains."""
    report = _Report(models, best_single_model([file.routed for file in files]), resamples, seed, default)
    blocks = [
        report.block([file], f"{file.source.name}  ({file.source.metric}, n = {len(file.routed.choice)})")
        for file in files
    ]
    total = sum(len(file.routed.choice) for file in files)
    if len(files) > 1:
        blocks.append(report.block(files, f"mean over {len(files)} files, unweighted  (n = {total})"))
    return "\n\n".join(blocks)


def render_costs(models: Sequence[str], files: Sequence[JudgedFile], cost_M: Floats) -> str:
    """The cost-quality curve in a few lines, over all files, each weighing the same."""
    traded = cost_quality_of(files, cost_M)
    width = max(32, *(len(model) for model in models))
    lines = [
        "cost and quality (mean over files, unweighted)",
        f"  {'mean quality over all budgets':<{width + 2}} {'area':>8}",
        *(f"    {name:<{width}} {100 * area:8.2f}" for name, area in traded.areas.items()),
        f"  {'router at weight lambda':<{width + 2}} {'quality':>8} {'cost':>10}",
    ]
    curve = traded.routed
    for weight in _shown_weights(curve.weight):
        # The last point at or before this lambda: between break points nothing moves.
        place = int(np.searchsorted(curve.weight, weight, side="right")) - 1
        lines.append(f"    {weight:<{width}.4g} {100 * curve.quality[place]:8.2f} {curve.cost[place]:10.4g}")
    lines.append(f"  {'each model alone':<{width + 2}} {'quality':>8} {'cost':>10}")
    singles = zip(models, traded.single_quality, traded.single_cost, strict=True)
    lines += [f"    {model:<{width}} {100 * quality:8.2f} {cost:10.4g}" for model, quality, cost in singles]
    return "\n".join(lines)


def cost_quality_of(files: Sequence[JudgedFile], cost_M: Floats) -> CostQuality:
    """The curves over the queries of all files, each file weighing the same. Raises ValueError for equal costs."""
    return cost_quality(
        np.concatenate([file.probability for file in files]),
        np.concatenate([file.routed.credit for file in files]),
        cost_M,
        weights_of_files([file.routed for file in files]),
        files[0].scores.is_calibrated.tolist(),
    )


def weights_of_files(files: Sequence[RoutedFile]) -> Floats:
    """One weight per query, files in order, so that every file weighs the same."""
    return np.concatenate([np.full(len(file.choice), 1 / len(file.choice)) for file in files])


def _shown_weights(weight_P: Floats) -> list[float]:
    """No cost, and where a quarter, half, three quarters and all of the moves to cheaper models are made."""
    moves = weight_P[1:]
    return (
        sorted({0.0, *(float(value) for value in np.quantile(moves, [0.25, 0.5, 0.75, 1.0]))}) if len(moves) else [0.0]
    )


class _Report:
    def __init__(
        self, models: Sequence[str], best_single: int, resamples: int, seed: int, default: Default | None
    ) -> None:
        self._models, self._best_single, self._default = models, best_single, default
        self._resamples, self._seed = resamples, seed
        self._width = max(24, *(len(f"with abstention to {model}") for model in models))

    def block(self, judged: Sequence[JudgedFile], title: str) -> str:
        """One file, or several as their mean."""
        files = [file.routed for file in judged]
        mean = mean_accuracies([accuracies_of_file(file, self._best_single) for file in files])
        routed = [file.routed_credit for file in files]
        best = [file.credit[:, self._best_single] for file in files]
        top = [file.credit[:, int(file.single.argmax())] for file in files]
        lines = [
            title,
            self._line("routed", mean.routed, routed),
            self._line(f"best single: {self._models[self._best_single]}", mean.best_single, best),
            self._line("file best", mean.file_best, top),
            self._line("random", mean.random, [file.credit.mean(axis=1) for file in files]),
            self._line("oracle", mean.oracle, [file.credit.max(axis=1) for file in files]),
            *self._abstention(judged),
            self._difference("routed - best single", routed, best),
            self._difference("routed - file best", routed, top),
        ]
        return "\n".join([*lines, *self._probabilities(judged), *self._singles(files)])

    def _abstention(self, judged: Sequence[JudgedFile]) -> list[str]:
        if self._default is None:
            return []
        earned = [file.with_abstention(self._default).routed_credit for file in judged]
        coverage = float(np.mean([file.coverage(self._default) for file in judged]))
        value = float(np.mean([part.mean() for part in earned]))
        line = self._line(f"with abstention to {self._models[self._default.column]}", value, earned)
        return [f"{line}  {100 * coverage:.1f}% routed"]

    def _probabilities(self, judged: Sequence[JudgedFile]) -> list[str]:
        weights_N = weights_of_files([file.routed for file in judged])
        stated = np.concatenate([file.probability for file in judged])
        credit = np.concatenate([file.routed.credit for file in judged])
        chosen = np.concatenate([file.chosen_probability for file in judged])
        earned = np.concatenate([file.routed.routed_credit for file in judged])
        rows = [("of every model", stated, credit), ("of the chosen model", chosen, earned)]
        return [f"  {'stated probabilities':<{self._width}} {'ECE':>8} {'Brier':>8}"] + [
            f"    {name:<{self._width - 2}} {expected_calibration_error(said, outcome, weights_N):8.4f} "
            f"{brier(said, outcome, weights_N):8.4f}"
            for name, said, outcome in rows
        ]

    def _singles(self, files: Sequence[RoutedFile]) -> list[str]:
        accuracy_M = np.mean([file.single for file in files], axis=0)
        share_M = np.mean(
            [np.bincount(file.choice, minlength=len(self._models)) / len(file.choice) for file in files], axis=0
        )
        return [f"  {'each model alone':<{self._width}} {'accuracy':>8} {'chosen':>8}"] + [
            f"    {model:<{self._width - 2}} {100 * accuracy:8.2f} {100 * share:7.1f}%"
            for model, accuracy, share in zip(self._models, accuracy_M, share_M, strict=True)
        ]

    def _line(self, name: str, value: float, values_by_file: Sequence[Floats]) -> str:
        low, high = bootstrap_interval(values_by_file, resamples=self._resamples, seed=self._seed)
        return f"  {name:<{self._width}} {100 * value:8.2f}  [{100 * low:6.2f}, {100 * high:6.2f}]"

    def _difference(self, name: str, ours: Sequence[Floats], theirs: Sequence[Floats]) -> str:
        gaps = [our - their for our, their in zip(ours, theirs, strict=True)]
        low, high = bootstrap_interval(gaps, resamples=self._resamples, seed=self._seed)
        value = float(np.mean([gap.mean() for gap in gaps]))
        return f"  {name:<{self._width}} {100 * value:+8.2f}  [{100 * low:+6.2f}, {100 * high:+6.2f}]  paired"
