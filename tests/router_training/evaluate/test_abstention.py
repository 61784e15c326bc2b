from pathlib import Path

import numpy as np
import pytest

from router_core.bundle import AbstentionSpec
from router_training.evaluate.abstention import choice_with_abstention, coverage_at_regret, default_of
from tests.support.small_bundle import small_bundle

# The default is column 0; the gains are 0.5, 0.25, 0 (the default itself is chosen) and 0.125, exactly.
PROBABILITY = np.array([[0.25, 0.75], [0.5, 0.75], [0.75, 0.5], [0.5, 0.625]])
CHOICE = PROBABILITY.argmax(axis=1)
CREDIT = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.5]])


@pytest.mark.parametrize(
    ("threshold", "choice", "coverage", "regret"),
    [
        (0.0, [1, 1, 0, 1], 1.0, (-1 + 1 + 0 + 0.5) / 4),
        (0.125, [1, 1, 0, 1], 0.75, (-1 + 1 + 0 + 0.5) / 4),  # a gain of exactly the threshold is routed
        (0.2, [1, 1, 0, 0], 0.5, 0.0),
        (0.3, [1, 0, 0, 0], 0.25, -0.25),
        (0.6, [0, 0, 0, 0], 0.0, 0.0),
    ],
)
def test_coverage_and_regret_by_hand(threshold: float, choice: list[int], coverage: float, regret: float) -> None:
    assert choice_with_abstention(PROBABILITY, CHOICE, 0, threshold).tolist() == choice
    result = coverage_at_regret(PROBABILITY, CHOICE, CREDIT, 0, threshold)
    assert (result.coverage, result.regret) == (pytest.approx(coverage), pytest.approx(regret))


def test_the_default_is_the_best_model_of_training_that_has_a_threshold(tmp_path: Path) -> None:
    # Base rates: llm-a 0.6, llm-b 0.5.
    both = AbstentionSpec(max_regret=0.1, thresholds={"llm-b": 0.2, "llm-a": 0.1}, coverage={})
    default = default_of(small_bundle(tmp_path / "both", abstention=both))
    assert default is not None
    assert (default.column, default.threshold) == (0, 0.1)
    one = AbstentionSpec(max_regret=0.1, thresholds={"llm-b": 0.2}, coverage={})
    default = default_of(small_bundle(tmp_path / "one", abstention=one))
    assert default is not None
    assert (default.column, default.threshold) == (1, 0.2)


def test_a_bundle_without_thresholds_has_no_default(tmp_path: Path) -> None:
    assert default_of(small_bundle(tmp_path / "b")) is None
    empty = AbstentionSpec(max_regret=0.1, thresholds={}, coverage={})
    assert default_of(small_bundle(tmp_path / "e", abstention=empty)) is None
