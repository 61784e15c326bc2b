"""Differences between two routers on the same queries, and the words that an interval allows.

Every interval is a 95% percentile bootstrap over the queries of each task (fixed seed, so that a page repeats). A gain
is only ever claimed where the whole interval lies above zero.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from router_training.evaluate.routed_accuracy import Floats, bootstrap_interval

RESAMPLES = 10_000
Verdict = Literal["beats", "loses to", "cannot be told from"]
_WORDS: Mapping[str, Mapping[Verdict, str]] = {
    "routers": {
        "beats": "these beat it",
        "loses to": "these lose to it",
        "cannot be told from": "these cannot be told from it",
    },
    "queries": {
        "beats": "beats it on",
        "loses to": "loses to it on",
        "cannot be told from": "cannot be told from it on",
    },
}


@dataclass(frozen=True)
class Difference:
    """Mean difference in points, with its 95% interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def paired(cls, ours: Sequence[Floats], theirs: Sequence[Floats]) -> "Difference":
        """Of credits of the same queries, an array per task; the mean is unweighted over the tasks."""
        return cls.of([our - their for our, their in zip(ours, theirs, strict=True)])

    @classmethod
    def of(cls, gaps: Sequence[Floats]) -> "Difference":
        """Of per-query differences, an array per task."""
        low, high = bootstrap_interval(gaps, resamples=RESAMPLES, seed=0)
        return cls(100 * float(np.mean([gap.mean() for gap in gaps])), 100 * low, 100 * high)

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say of ours and theirs."""
        if self.low > 0:
            return "beats"
        return "loses to" if self.high < 0 else "cannot be told from"

    def __str__(self) -> str:
        # Adding zero turns -0.00 into 0.00.
        mean, low, high = (round(value, 2) + 0.0 for value in (self.mean, self.low, self.high))
        return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def percent(values: Sequence[Floats], digits: int = 1) -> str:
    """`61.3 [58.0, 64.6]`: mean over the tasks of credits, an array per task, in percent."""
    low, high = bootstrap_interval(values, resamples=RESAMPLES, seed=0)
    mean = float(np.mean([part.mean() for part in values]))
    return f"{100 * mean:.{digits}f} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def paragraph(text: str) -> str:
    """The words of `text`, filled to the width of the page."""
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdicts(found: Mapping[str, Difference], *, of: Literal["routers", "queries"]) -> str:
    """`these beat it: a; these lose to it: none; ...` of routers, or `beats it on: ...` of one router on queries."""
    said = {verdict: [name for name, one in found.items() if one.verdict == verdict] for verdict in _WORDS[of]}
    return "; ".join(f"{words}: {listed(said[verdict])}" for verdict, words in _WORDS[of].items())


def listed(names: Sequence[str]) -> str:
    """`a, b and c`, or `none`."""
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
