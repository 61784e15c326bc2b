from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.default_sections import duplicates, residual_notes, trust, unlike_the_benchmark, within_tasks
from benchmarks.served import Served
from benchmarks.sides import Sides
from benchmarks.text_variants import Variant
from router_core.bundle import AbstentionSpec
from tests.support.small_bundle import small_bundle


@pytest.fixture
def digits_and_words(tiny_sides: Sides) -> Sides:
    """Two tasks as small_bundle knows them: its first model is right on digits, its second on words."""
    test = replace(
        tiny_sides.test,
        models=("llm-a", "llm-b"),
        questions=("2 + 2", "3 + 4", "a word", "two words"),
        tasks=("digits", "digits", "words", "words"),
        credit=np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
    )
    return Sides(train=test, test=test, tasks=("digits", "words"))


def row(page: str, label: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_gains_are_per_task_and_claimed_only_where_proven(tiny_sides: Sides) -> None:
    ours, rival = np.array([0, 0, 1, 0]), np.array([1, 1, 1, 1])
    page = within_tasks(tiny_sides, {"ours": ours, "rival": rival}, "A note.")
    assert row(page, "X") == ["2", "+100.00 [+100.00, +100.00]", "100.0"]
    assert row(page, "Y") == ["2", "+0.00 [+0.00, +0.00]", "50.0"]
    text = " ".join(page.split())
    assert "A note. The paired interval lies above zero on: X; below zero on: none." in text
    assert "ours 0.00 points on X; rival 100.00 points on X" in text


def test_routing_is_judged_on_changed_texts(digits_and_words: Sides, tmp_path: Path) -> None:
    served = Served(small_bundle(tmp_path / "bundle"), took_s=0.0)
    test = digits_and_words.test
    texts = (("plain", test.questions), ("without digits", ("two plus two", "three plus four", *test.questions[2:])))
    variants = [Variant(name, questions, test.credit, test.tasks) for name, questions in texts]
    page = unlike_the_benchmark(digits_and_words, variants, served)
    # n, default, task prior, best single (llm-a: the first of equals), two differences
    assert row(page, "plain") == ["4", "100.00", "100.00", "50.00", "+0.00 [+0.00, +0.00]", "+50.00 [+50.00, +50.00]"]
    assert row(page, "without digits")[1:3] == ["50.00", "50.00"]
    assert "Beside the best single LLM, the default beats it on: plain;" in " ".join(page.split())


def test_stated_probabilities_are_held_against_what_happened(digits_and_words: Sides, tmp_path: Path) -> None:
    spec = AbstentionSpec(max_regret=0.01, thresholds={"llm-b": 0.65}, coverage={"llm-b": 0.5})
    served = Served(small_bundle(tmp_path / "bundle", abstention=spec), took_s=0.0)
    page = trust(digits_and_words, served, served.route(digits_and_words.test.questions))
    # digits: 0.9 and 0.2 for 1 and 0; words: 0.3 and 0.8 for 0 and 1
    brier = np.mean([0.1**2, 0.2**2, 0.3**2, 0.2**2])
    assert row(page, "as served") == ["every query alike", f"{np.mean([0.1, 0.2, 0.3, 0.2]):.4f}", f"{brier:.4f}"]
    text = " ".join(page.split())
    # Words are llm-b's own; digits promise 0.7 more than llm-b.
    assert "On test 50.0% of the queries are routed" in text
    assert "with a regret of -50.00" in text
    assert "which keeps the bound" in text


def test_a_bundle_without_thresholds_says_so(digits_and_words: Sides, tmp_path: Path) -> None:
    served = Served(small_bundle(tmp_path / "bundle"), took_s=0.0)
    page = trust(digits_and_words, served, served.route(digits_and_words.test.questions))
    assert "no abstention thresholds" in page


def test_duplicates_are_counted_and_taken_out(sides: Sides) -> None:
    earned = np.ones(len(sides.test))
    earned[sides.rows("MMLU")[:2]] = 0.0
    page = duplicates(sides, earned)
    assert row(page, "MMLU") == ["2", "75.00", "100.00", "0, 1"]
    assert row(page, "GSM8K") == ["0", "100.00", "100.00", ""]
    assert row(page, "mean") == ["2", "95.00", "100.00", ""]
    assert "2 of 40 test questions stand in train" in page


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"method": "knn", "setting": {"k": 50}}, "The default kept the residual knn {'k': 50}, of 2 tried."),
        (None, "kept none: the best of them, knn {'k': 50}, gained +1.00 [-0.50, +2.50] points"),
    ],
)
def test_what_became_of_the_residuals_is_told(tmp_path: Path, kept: object, said: str) -> None:
    tried = [
        {"method": "ridge", "setting": {}, "gain": 0.001, "interval": [-0.01, 0.02]},
        {"method": "knn", "setting": {"k": 50}, "gain": 0.01, "interval": [-0.005, 0.025]},
    ]
    evaluation = {"residuals": {"kept": kept, "tried": tried}}
    served = Served(small_bundle(tmp_path / "bundle", evaluation=evaluation), took_s=0.0)  # type: ignore[arg-type]
    assert said in " ".join(residual_notes(served).split())
