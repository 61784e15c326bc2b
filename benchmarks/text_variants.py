"""Test queries as they never stand in a benchmark: without its format markers, two at once, after unrelated words.

A router that has only learned a benchmark's format fails on these. The models were not asked these variants, so their
scores on the plain query stand in for them: what is measured is whether the router still knows whom to ask.

Axis suffixes: N queries, M models.
"""

import re
from dataclasses import dataclass

import numpy as np

from benchmarks.sides import Sides
from router_training.evaluate.routed_accuracy import Floats, Indices

_MARKERS = (
    re.compile(r"```[\w+#-]*"),  # code fences with their language
    re.compile(r"^[ \t]*(?:python|py|javascript|js|java|c\+\+|cpp|bash|sql)[ \t]*$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"^[ \t]*(?:question|answer|options?|choices?|q|a)[ \t]*[:\uff1a][ \t]*", re.IGNORECASE | re.MULTILINE),
    re.compile(r"(?:答案|问题|题目|选项)[ \t]*[:\uff1a][ \t]*"),
    re.compile(r"^[ \t]*\(?[A-H][.)\uff0e\u3001:\uff1a][ \t]*", re.MULTILINE),  # option letters, not the options
)
PREFIXES = (
    "Good morning! I hope you are well. ",
    "Thanks for your help yesterday, the train was late but we made it home. ",
    "I am asking for a friend who is travelling and has no laptop with her. ",
    "My cat is asleep on the keyboard, so please excuse any typing errors.\n\n",
    "[2024-03-11 09:41] forwarded message:\n",
)


@dataclass(frozen=True)
class Variant:
    """N texts, what each model earns on them (N, M), and the tasks that figures are averaged within first."""

    name: str
    questions: tuple[str, ...]
    credit: Floats
    tasks: tuple[str, ...]


def strip_markers(text: str) -> str:
    """The text without code fences, language tags, option letters and labels such as "Question:", "Answer:", "答案"."""
    for marker in _MARKERS:
        text = marker.sub("", text)
    return text.strip()


def variants_of(sides: Sides, *, pairs: int = 2000, seed: int = 0) -> list[Variant]:
    """The test side plain and in every variant. A pair joins queries of two tasks and earns the mean of both."""
    test = sides.test
    rng = np.random.default_rng(seed)
    prefixes = rng.integers(0, len(PREFIXES), len(test))
    first_P, second_P = _pairs(test.tasks, pairs, rng)
    return [
        Variant("as in the benchmark", test.questions, test.credit, test.tasks),
        Variant("without format markers", tuple(map(strip_markers, test.questions)), test.credit, test.tasks),
        Variant(
            "after an unrelated sentence",
            tuple(PREFIXES[prefix] + text for prefix, text in zip(prefixes, test.questions, strict=True)),
            test.credit,
            test.tasks,
        ),
        Variant(
            "two queries of different tasks in one",
            tuple(
                f"{test.questions[first]}\n\n{test.questions[second]}"
                for first, second in zip(first_P, second_P, strict=True)
            ),
            (test.credit[first_P] + test.credit[second_P]) / 2,
            ("pairs",) * len(first_P),
        ),
    ]


def _pairs(tasks: tuple[str, ...], pairs: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Rows of the first and second query (P,) of each pair; every two tasks come up equally often."""
    names = sorted(set(tasks))
    rows = {name: np.flatnonzero(np.array(tasks) == name) for name in names}
    combinations = [(one, other) for one in names for other in names if one != other]
    drawn = [combinations[index % len(combinations)] for index in range(pairs if combinations else 0)]
    first = np.array([rng.choice(rows[one]) for one, _ in drawn], dtype=np.intp)
    second = np.array([rng.choice(rows[other]) for _, other in drawn], dtype=np.intp)
    return first, second
