"""Questions that a router has already seen: those of a test file that stand verbatim in its training data.

A question counts as the same if `router_core.bundle.question_hash` does: case and spacing are put aside. The bundle
carries these hashes of its training questions, so neither the training data nor its text is needed.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from router_core.bundle import question_hash
from router_training.evaluate.routed_accuracy import Indices

Hashes = npt.NDArray[np.uint64]
SHOWN = 5


def hashes_of(questions: Sequence[str]) -> Hashes:
    """The distinct hashes of some questions, rising: what a bundle stores."""
    return np.unique(np.array([question_hash(question) for question in questions], dtype=np.uint64))


def duplicates_of(questions: Sequence[str], hashes: Hashes) -> Indices:
    """Rows, rising, of the questions whose hash is among `hashes`."""
    own_N = np.array([question_hash(question) for question in questions], dtype=np.uint64)
    return np.flatnonzero(np.isin(own_N, hashes))


def name_rows(names: Sequence[str], shown: int = SHOWN) -> str:
    """At most `shown` names, then a count of the rest."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
