"""RouterDC's own test data: our metrics give the single-LLM figures that the paper prints. Needs no encoder."""

import os
from pathlib import Path

import numpy as np
import pytest

from router_core.table import read_table
from router_training.evaluate.routed_accuracy import Metric, credit_of_scores

DATA = Path(os.environ.get("ROUTERDC_DATA") or "data/routerdc")
MISTRAL, METAMATH, CHINESE, ZEPHYR, DOLPHIN_26, LLAMA, DOLPHIN_29 = (
    "mistralai/Mistral-7B-v0.1",
    "meta-math/MetaMath-Mistral-7B",
    "itpossible/Chinese-Mistral-7B-v0.1",
    "HuggingFaceH4/zephyr-7b-beta",
    "cognitivecomputations/dolphin-2.6-mistral-7b",
    "meta-llama/Meta-Llama-3-8B",
    "cognitivecomputations/dolphin-2.9-llama3-8b",
)


@pytest.mark.skipif(not (DATA / "test").is_dir(), reason="RouterDC's data is absent: set ROUTERDC_DATA to its folder")
@pytest.mark.parametrize(
    ("file", "metric", "rows", "figures"),
    [
        ("mmlu_test.json.gz", "probability", 4213, {MISTRAL: 62.14, LLAMA: 64.59, METAMATH: 59.86, CHINESE: 57.42}),
        ("gsm8k-test.json.gz", "multi_attempt", 1319, {MISTRAL: 36.71, METAMATH: 69.63, DOLPHIN_29: 69.81}),
        ("cmmlu_test.json.gz", "probability", 3475, {MISTRAL: 43.83, CHINESE: 49.67, LLAMA: 51.77}),
        ("arc_challenge_test.json.gz", "probability", 352, {MISTRAL: 49.43, ZEPHYR: 57.95, DOLPHIN_26: 52.56}),
        ("humaneval_test.json.gz", "multi_attempt", 49, {MISTRAL: 28.98, DOLPHIN_26: 45.10, DOLPHIN_29: 49.39}),
    ],
)
def test_published_single_llm_figures_come_out(file: str, metric: Metric, rows: int, figures: dict[str, float]) -> None:
    table = read_table(DATA / "test" / file)
    accuracy = 100 * credit_of_scores(table.scores, metric).mean(axis=0)
    assert len(table) == rows
    measured = {model: float(np.round(accuracy[table.models.index(model)], 2)) for model in figures}
    assert measured == pytest.approx(figures, abs=0.0051)
