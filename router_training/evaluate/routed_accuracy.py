"""Accuracy of a router on scored queries, and of its rivals on the same queries.

A credit c[n, m] in 0..1 says what query n earns if LLM m answers it. With the router's choice r[n]:

    routed        mean over n of c[n, r[n]]
    single[m]     mean over n of c[n, m]
    best_single   the ONE model with the best unweighted mean of single[m] over the files, so the same in every file
    file_best     max over m of single[m] in this file: needs to know the file, so no router but a bound to hold against
    random        mean over n and m of c[n, m]
    oracle        mean over n of max over m of c[n, m]

Metrics, as in RouterDC's evaluation: "multi_attempt" credits the score itself (share of right samples); "probability"
credits 1 where the score is above 0 (the score is then a probability that is kept only when the answer is right).

Axis suffixes: N queries, M models, R bootstrap resamples, F files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Metric = Literal["multi_attempt", "probability"]
METRICS: tuple[Metric, ...] = ("multi_attempt", "probability")
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Interval = tuple[float, float]


@dataclass(frozen=True)
class RoutedFile:
    """One file's credits (N, M) and the router's choice of a column for each query (N,)."""

    name: str
    credit: Floats
    choice: Indices

    @property
    def routed_credit(self) -> Floats:
        """What each query earned, (N,)."""
        earned: Floats = self.credit[np.arange(len(self.choice)), self.choice]
        return earned

    @property
    def single(self) -> Floats:
        """Accuracy of each model alone, (M,)."""
        means: Floats = self.credit.mean(axis=0)
        return means


@dataclass(frozen=True)
class Accuracies:
    """The figures of one file, or their unweighted mean over files (`n` is then the number of all queries)."""

    routed: float
    best_single: float
    file_best: float
    random: float
    oracle: float
    n: int


def credit_of_scores(scores_N_M: Floats, metric: Metric) -> Floats:
    """Credits (N, M) of a table's scores under `metric`."""
    return (scores_N_M > 0).astype(np.float64) if metric == "probability" else scores_N_M


def best_single_model(files: Sequence[RoutedFile]) -> int:
    """Column of the model with the best unweighted mean over the files; the first of equals."""
    return int(np.mean([file.single for file in files], axis=0).argmax())


def accuracies_of_file(file: RoutedFile, best_single: int) -> Accuracies:
    """The figures of one file, given the column of the best single model over all files."""
    return Accuracies(
        routed=float(file.routed_credit.mean()),
        best_single=float(file.single[best_single]),
        file_best=float(file.single.max()),
        random=float(file.credit.mean()),
        oracle=float(file.credit.max(axis=1).mean()),
        n=len(file.choice),
    )


def mean_accuracies(parts: Sequence[Accuracies]) -> Accuracies:
    """Unweighted mean over files; `n` is their sum."""
    return Accuracies(
        routed=float(np.mean([part.routed for part in parts])),
        best_single=float(np.mean([part.best_single for part in parts])),
        file_best=float(np.mean([part.file_best for part in parts])),
        random=float(np.mean([part.random for part in parts])),
        oracle=float(np.mean([part.oracle for part in parts])),
        n=sum(part.n for part in parts),
    )


def bootstrap_interval(values_by_file: Sequence[Floats], *, resamples: int, seed: int, level: float = 0.05) -> Interval:
    """Percentile interval (95% for `level` 0.05) of the unweighted mean over files of the mean over queries.

    Queries are resampled within each file. For a paired comparison pass per-query differences of two routers.
    """
    rng = np.random.default_rng(seed)
    means_F_R = [_resampled_means(values, resamples, rng) for values in values_by_file]
    low, high = np.percentile(np.mean(means_F_R, axis=0), [50 * level, 100 - 50 * level])
    return float(low), float(high)


def _resampled_means(values_N: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    # Resampling N queries with replacement is a multinomial draw of how often each distinct value comes up; scores
    # take few values, so this is far cheaper than drawing N indices each time, and has the same distribution.
    distinct, counts = np.unique(values_N, return_counts=True)
    drawn_R_V = rng.multinomial(len(values_N), counts / len(values_N), size=resamples)
    means: Floats = drawn_R_V @ distinct / len(values_N)
    return means
