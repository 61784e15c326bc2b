"""The training loop on vectors made up for the purpose: no encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_core.scoring.registry import build_scorer
from router_core.tensors import Tensors
from router_training.errors import JobConfigError, TrainingError
from router_training.routers.clusters import task_clusters
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData
from router_training.routers.fitting import (
    Split,
    contrast_sizes,
    fit_routerdc,
    routed_accuracy_by_task,
    scorer_tensors,
    similarities_of,
)
from router_training.routers.vectors import FrozenVectors

ROWS, MODELS, DIMENSIONS = 60, 3, 8
RNG = np.random.default_rng(0)
WINNER = np.arange(ROWS) % MODELS
EMBEDDINGS = (3 * np.eye(MODELS, DIMENSIONS)[WINNER] + RNG.normal(size=(ROWS, DIMENSIONS))).astype(np.float32)
DATA = RouterData(
    models=("a", "b", "c"),
    questions=tuple(f"q{row}" for row in range(ROWS)),
    tasks=tuple(f"t{winner}" for winner in WINNER),
    cluster_ids=(None,) * ROWS,
    groups=(None,) * ROWS,
    scores=np.eye(MODELS)[WINNER],
    credit=np.eye(MODELS)[WINNER],
)
SPLIT = Split(np.arange(0, 45), np.arange(45, ROWS))


def config(**changes: Any) -> RouterTrainConfig:
    small = {"steps": 60, "batch_size": 16, "evaluate_every": 10, "projection": 8, "learning_rate": 0.02}
    return RouterTrainConfig.model_validate({"data": ["-"], "out": Path("-"), "method": "routerdc"} | small | changes)


def fit(embeddings: np.ndarray[Any, Any] = EMBEDDINGS, **changes: Any) -> tuple[Any, FrozenVectors]:
    vectors = FrozenVectors(embeddings)
    return fit_routerdc(DATA, SPLIT, vectors, task_clusters(DATA.tasks), config(**changes)), vectors


@pytest.mark.parametrize(
    "changes",
    [{}, {"cluster_weight": 0.0}, {"temperature": 0.1}, {"labels": "credit"}, {"samples_per_task": 30}],
    ids=lambda changes: str(changes),
)
def test_a_separable_pool_is_learned(changes: dict[str, Any]) -> None:
    fitted, vectors = fit(**changes)
    similarities = similarities_of(fitted.router, vectors, SPLIT.validation)
    assert routed_accuracy_by_task(DATA, SPLIT.validation, similarities) >= 0.9


def test_the_checkpoint_is_the_best_of_the_validation_split() -> None:
    seen: dict[int, float] = {}

    def report(step: int, loss: float, accuracy: float | None) -> None:
        if accuracy is not None:
            seen[step] = accuracy

    vectors = FrozenVectors(EMBEDDINGS)
    fitted = fit_routerdc(DATA, SPLIT, vectors, task_clusters(DATA.tasks), config(steps=35), report)
    assert sorted(seen) == [10, 20, 30, 35]
    assert fitted.checkpoint_accuracy == max(seen.values()) == seen[fitted.step]
    similarities = similarities_of(fitted.router, vectors, SPLIT.validation)
    assert routed_accuracy_by_task(DATA, SPLIT.validation, similarities) == fitted.checkpoint_accuracy


def test_the_bundles_scorer_gives_the_trainers_cosines() -> None:
    fitted, vectors = fit(steps=10)
    tensors = Tensors(scorer_tensors(fitted.router), "f", {"D": DIMENSIONS, "M": MODELS})
    quality = build_scorer("routerdc", tensors, "", {}).quality(EMBEDDINGS[SPLIT.validation])
    tensors.refuse_rest()
    np.testing.assert_allclose(quality, similarities_of(fitted.router, vectors, SPLIT.validation), atol=1e-6)


def test_the_released_code_chooses_on_the_training_data() -> None:
    fitted, vectors = fit(released_code_faults=True)
    similarities = similarities_of(fitted.router, vectors, SPLIT.train)
    assert routed_accuracy_by_task(DATA, SPLIT.train, similarities) == fitted.checkpoint_accuracy


def test_the_sample_sample_loss_draws_a_cluster_together() -> None:
    def spread_within_clusters(weight: float) -> float:
        fitted, vectors = fit(cluster_weight=weight, steps=40, evaluate_every=40)
        query, _ = fitted.router(vectors.of_rows(SPLIT.train))
        same = WINNER[SPLIT.train][:, None] == WINNER[SPLIT.train][None, :]
        return float((query @ query.T).detach().numpy()[same].mean())

    assert spread_within_clusters(5.0) > spread_within_clusters(0.0)


def test_the_accuracy_is_averaged_within_tasks_and_then_over_them() -> None:
    rows = np.array([0, 3, 6, 1])  # three queries of t0, one of t1
    always_a = np.tile(np.array([[1.0, 0.0, 0.0]], dtype=np.float32), (4, 1))
    assert routed_accuracy_by_task(DATA, rows, always_a) == pytest.approx(0.5)


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1; lower learning_rate \(0.02\)"):
        fit(np.full_like(EMBEDDINGS, np.nan))


@pytest.mark.parametrize(("models", "sizes"), [(7, (3, 3)), (6, (3, 3)), (5, (2, 2)), (3, (1, 1)), (2, (1, 1))])
def test_both_sides_of_the_contrast_fit_the_pool(models: int, sizes: tuple[int, int]) -> None:
    assert contrast_sizes(config(), models) == sizes


def test_one_model_needs_no_router() -> None:
    with pytest.raises(JobConfigError, match="at least two"):
        contrast_sizes(config(), 1)
