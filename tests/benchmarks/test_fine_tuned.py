from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contenders import MINILM, Contender, Result, Vectors, compete, features_vectors, minilm_vectors
from benchmarks.fine_tuned import SAMPLED_PER_TASK, FineTuned, fine_tune, sample
from benchmarks.line_up import BOTH_LOSSES, ONE_LOSS, PRIOR
from benchmarks.routerdc_sections import Findings, render
from benchmarks.served import Served, train_served
from benchmarks.sides import Sides
from benchmarks.unseen_tasks import BEST_OF_OTHERS, DEFAULT, TASK_BEST, Unseen
from router_training.routers.encoder import load_encoder
from tests.support.tiny_encoder import make_tiny_encoder

FEW_STEPS = {"steps": 20, "evaluate_every": 10}


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def sentence_vectors(sides: Sides, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    encoder = load_encoder(str(encoder_folder), max_tokens=16, truncation_side="left")
    return minilm_vectors(sides, encoder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tuned(sides: Sides, sentence_vectors: Vectors, encoder_folder: Path) -> FineTuned:
    return fine_tune(sides, sentence_vectors, steps=2, seed=0, max_tokens=16, encoder_name=str(encoder_folder))


def test_a_fine_tuned_router_is_judged_on_the_rows_it_names(sides: Sides, tuned: FineTuned) -> None:
    assert tuned.steps == 2
    assert tuned.checkpoint in (1, 2)
    assert len(tuned.earned) == len(tuned.rows) == len(sides.test)
    assert all(value in sides.test.credit[row] for row, value in zip(tuned.rows, tuned.earned, strict=True))


def test_the_sample_has_no_task_in_excess_and_no_row_twice(sides: Sides) -> None:
    many = SAMPLED_PER_TASK + 50
    tasks = ("MMLU",) * many + ("ARC-C",) * 10
    large = Sides(sides.train, replace(sides.test, questions=("q",) * len(tasks), tasks=tasks), ("MMLU", "ARC-C"))
    rows = sample(large, seed=0)
    assert Counter(tasks[row] for row in rows) == {"MMLU": SAMPLED_PER_TASK, "ARC-C": 10}
    assert len(np.unique(rows)) == len(rows)


def test_embeddings_come_from_the_cache_the_second_time(sides: Sides, encoder_folder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(str(encoder_folder), max_tokens=16, truncation_side="left")
    first = minilm_vectors(sides, encoder, tmp_path)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert (minilm_vectors(sides, encoder, tmp_path).test == first.test).all()
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files


def test_the_page_sets_frozen_and_fine_tuned_beside_each_other(sides: Sides, tuned: FineTuned) -> None:
    features = features_vectors(sides)
    # The tiny encoder knows too few words for a router on its vectors to be trained.
    sentence_vectors = replace(features, name=MINILM)

    def results(vectors: Vectors) -> tuple[Result, ...]:
        rows = (
            PRIOR,
            Contender(BOTH_LOSSES.label, "routerdc", FEW_STEPS),
            Contender(ONE_LOSS.label, "routerdc", FEW_STEPS),
        )
        return tuple(compete(row, sides, vectors, (0, 1)) for row in rows)

    served: Served = train_served(sides.train, 0)
    names = (DEFAULT, PRIOR.label, BEST_OF_OTHERS, TASK_BEST)
    unseen = tuple(Unseen(task, {name: np.ones(3) for name in names}) for task in sides.tasks)
    both = ((features, results(features)), (sentence_vectors, results(sentence_vectors)))
    page = render(Findings(sides, (0, 1), (served, served), both, unseen, tuned), "a command", took_s=1.0)
    text = " ".join(page.split())
    assert f"| {BOTH_LOSSES.label} on {MINILM} |" in page
    assert "On features vectors RouterDC with both losses" in text
    assert "On MiniLM vectors RouterDC with both losses" in text
    assert f"2 steps of 16 queries in {tuned.trained_s:.0f} s" in text
    assert "Judged on 40 test queries" in text
    assert "default, as served cannot be told from it (+0.00 [+0.00, +0.00])" in text
