"""The printed table of a router evaluation: one block per file and one for their mean, in percent.

An interval in brackets is a 95% bootstrap over queries; differences are paired, query by query.
"""

from collections.abc import Sequence

import numpy as np

from router_training.evaluate.routed_accuracy import (
    Floats,
    Metric,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    bootstrap_interval,
    mean_accuracies,
)


def render_report(
    models: Sequence[str], files: Sequence[RoutedFile], metrics: Sequence[Metric], resamples: int, seed: int
) -> str:
    """Every file beside every single model, then the mean over files."""
    report = _Report(models, best_single_model(files), resamples, seed)
    blocks = [
        report.block([file], f"{file.name}  ({metric}, n = {len(file.choice)})")
        for file, metric in zip(files, metrics, strict=True)
    ]
    total = sum(len(file.choice) for file in files)
    if len(files) > 1:
        blocks.append(report.block(files, f"mean over {len(files)} files, unweighted  (n = {total})"))
    return "\n\n".join(blocks)


class _Report:
    def __init__(self, models: Sequence[str], best_single: int, resamples: int, seed: int) -> None:
        self._models, self._best_single = models, best_single
        self._resamples, self._seed = resamples, seed
        self._width = max(24, *(len(f"best single: {model}") for model in models))

    def block(self, files: Sequence[RoutedFile], title: str) -> str:
        """One file, or several as their mean."""
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
            self._difference("routed - best single", routed, best),
            self._difference("routed - file best", routed, top),
        ]
        return "\n".join([*lines, *self._singles(files)])

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
