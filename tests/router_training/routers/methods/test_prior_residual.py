from dataclasses import replace

import numpy as np
import pytest

from router_training.routers.methods import prior_residual, task_prior
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.prior_residual import Candidate

N = 400


def data(*, within_task: bool) -> tuple[FitData, np.ndarray]:
    """Two tasks along the first axis; with `within_task` the second axis decides which model is right inside each."""
    rng = np.random.default_rng(0)
    task = np.arange(N) % 2
    vectors = np.stack([4.0 * task - 2, rng.normal(size=N), rng.normal(size=N)], axis=1).astype(np.float32)
    lean = vectors[:, 1] > 0 if within_task else rng.uniform(size=N) < 0.5
    credit = np.stack([lean, ~lean], axis=1).astype(float)
    names = tuple("ab"[one] for one in task)
    return FitData(vectors, credit, credit, names), np.arange(N) % 5


def choose(
    one: FitData, folds: np.ndarray, **options: tuple[str, ...]
) -> tuple[Candidate | None, tuple[Candidate, ...]]:
    return prior_residual.choose_residual(one, folds, penalty=5e-5, **options)  # type: ignore[arg-type]


def test_a_residual_that_knows_more_is_kept_and_routes_by_it() -> None:
    one, folds = data(within_task=True)
    kept, tried = choose(one, folds, methods=("ridge",))
    assert kept is not None
    assert kept.low > 0
    assert len(tried) >= 1
    fitted = prior_residual.fit(one, residual=kept.method, setting=kept.setting)
    routed = quality_of(fitted, one.vectors, 2).argmax(axis=1)
    assert one.credit[np.arange(N), routed].mean() > 0.9
    assert fitted.options == {"residual": "ridge"}


def test_noise_is_not_kept() -> None:
    one, folds = data(within_task=False)
    kept, tried = choose(one, folds)
    assert kept is None
    assert len(tried) > 1
    assert max(tried, key=lambda candidate: candidate.gain).low <= 0


def test_the_residual_is_fitted_on_figures_that_saw_no_row_of_its_group() -> None:
    one, _ = data(within_task=True)
    alone, singles, tasks = (
        prior_residual.fit(replace(one, groups=groups), residual="ridge").tensors["residual.weight"]
        for groups in ((), tuple(f"row {row}" for row in range(N)), one.tasks)
    )
    assert alone.shape == singles.shape == tasks.shape
    # With a task in one piece the prior has never seen it, and leaves more to explain.
    assert np.abs(tasks - alone).max() > 5 * np.abs(singles - alone).max()


def test_without_a_residual_it_is_the_prior() -> None:
    one, _ = data(within_task=True)
    alone = quality_of(task_prior.fit(one), one.vectors, 2)
    assert quality_of(prior_residual.fit(one), one.vectors, 2) == pytest.approx(alone)


def test_no_candidates_keep_nothing() -> None:
    one, folds = data(within_task=True)
    assert choose(one, folds, methods=()) == (None, ())
