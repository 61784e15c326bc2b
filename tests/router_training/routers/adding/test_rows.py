"""One model's row of each scorer, learned on frozen tensors: by hand, against another formulation, and at both ends."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from router_core.bundle import ScorerSpec
from router_core.scoring.base import unit_rows
from router_training.errors import DataError
from router_training.routers.adding import ridge, task_prior
from router_training.routers.adding.base import RowProblem, mean_row, with_row
from router_training.routers.adding.freedom import FREEDOMS
from router_training.routers.adding.logistic import most_probable
from router_training.routers.adding.pool import deviations, scatter_root
from router_training.routers.adding.registry import ROWS, row_learner
from router_training.routers.methods.base import FitData, Fitted
from router_training.routers.methods.registry import method_named

Floats = npt.NDArray[np.float64]
SETTINGS: dict[str, dict[str, Any]] = {
    "prior_residual": {"residual": "ridge", "setting": {"alpha": 30.0}},
    "task_prior": {},
    "clusters": {"clusters": 3, "shrinkage": 5.0},
    "ridge": {"alpha": 30.0},
    "mlp": {"hidden": 8, "epochs": 20},
    "routerdc": {"projection": 8, "steps": 60, "cluster_weight": 0.0, "labels": "credit", "temperature": 0.2},
    "cosine_classifier": {"temperature": 0.5},
}
TASKS, PER_TASK, DIMENSIONS, MODELS = 3, 80, 6, 4


def pool_of(seed: int = 0) -> tuple[FitData, Floats]:
    """Queries of three tasks, and how often each of four models is right on each task, which is what earns credit."""
    rng = np.random.default_rng(seed)
    accuracy_T_M = rng.uniform(0.3, 0.7, (TASKS, MODELS))
    index = np.repeat(np.arange(TASKS), PER_TASK)
    vectors = 3 * np.eye(DIMENSIONS)[index] + rng.normal(0, 0.4, (len(index), DIMENSIONS))
    credit = (rng.random((len(index), MODELS)) < accuracy_T_M[index]).astype(np.float64)
    tasks = tuple(f"task {task}" for task in index)
    return FitData(vectors.astype(np.float32), credit, credit, tasks, seed=seed), accuracy_T_M


def fitted(name: str) -> Fitted:
    return method_named(name).fit(pool_of()[0], **SETTINGS[name])


def problem_of(made: Fitted, credit: Floats, rows: npt.NDArray[np.intp], **changes: Any) -> RowProblem:
    data = pool_of()[0]
    values: dict[str, Any] = {
        "scorer": made.name,
        "tensors": dict(made.tensors),
        "column": MODELS,
        "parents": np.full(MODELS, 1 / MODELS),
        "vectors": data.vectors[rows],
        "credit": credit,
        "folds": np.arange(len(rows)) % 5,
        "log_odds": (1.0, 0.0) if made.name in {"task_prior", "prior_residual", "mlp", "clusters"} else (4.0, 0.0),
        "options": dict(made.options),
    }
    return RowProblem(**values | changes)


def two_models(**changes: Any) -> RowProblem:
    """Two tasks told apart by the sign of one number; accuracies 0.8, 0.4 of one model, 0.6, 0.6 of the other."""
    tensors = {
        "weight": np.array([[50.0], [-50.0]], dtype=np.float32),
        "bias": np.zeros(2, dtype=np.float32),
        "accuracy": np.array([[0.8, 0.6], [0.4, 0.6]], dtype=np.float32),
    }
    values: dict[str, Any] = {
        "scorer": "task_prior",
        "tensors": tensors,
        "column": 2,
        "parents": np.array([0.5, 0.5]),
        "vectors": np.array([[1], [1], [1], [-1]], dtype=np.float32),
        "credit": np.array([1.0, 1.0, 0.0, 0.0]),
        "folds": np.arange(4) % 2,
    }
    return RowProblem(**values | changes)


def test_a_tiny_prior_row_is_the_one_computed_by_hand() -> None:
    # Deviations from the other model are 0.2 on both tasks, so variance 0.04; as a share of m (1 - m) that is
    # 0.04 / 0.21 and 0.04 / 0.25, each drawn half way to their mean: 0.182857 and 0.167619. s = 1 / share - 1.
    s0, s1 = 1 / 0.182857 - 1, 1 / 0.167619 - 1
    row = task_prior.fit(two_models(), 1.0)["accuracy"]
    assert row == pytest.approx([(2 + s0 * 0.7) / (3 + s0), (0 + s1 * 0.5) / (1 + s1)], abs=1e-5)
    freer = task_prior.fit(two_models(), 4.0)["accuracy"]
    assert freer == pytest.approx([(2 + s0 / 4 * 0.7) / (3 + s0 / 4), (s1 / 4 * 0.5) / (1 + s1 / 4)], abs=1e-5)


def test_a_probe_in_doubt_counts_half_for_each_task_unless_it_names_one() -> None:
    s0, s1 = 1 / 0.182857 - 1, 1 / 0.167619 - 1
    doubtful = two_models(vectors=np.zeros((4, 1), dtype=np.float32))
    row = task_prior.fit(doubtful, 1.0)["accuracy"]
    assert row == pytest.approx([(1 + s0 * 0.7) / (2 + s0), (1 + s1 * 0.5) / (2 + s1)], abs=1e-5)
    named = replace(doubtful, tasks=("a", "a", "a", "b"), known_tasks=("a", "b"))
    assert task_prior.fit(named, 1.0)["accuracy"] == pytest.approx(task_prior.fit(two_models(), 1.0)["accuracy"])
    strange = replace(doubtful, tasks=("x",) * 4, known_tasks=("a", "b"))
    assert task_prior.fit(strange, 1.0)["accuracy"] == pytest.approx(row)


def test_the_warm_start_is_the_weighted_mean_of_the_parents_rows() -> None:
    leaning = two_models(parents=np.array([0.75, 0.25]))
    assert task_prior.fit(leaning, 1e-12)["accuracy"] == pytest.approx([0.75, 0.45])


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {"prior_residual"}))  # whose parts are other scorers
def test_without_information_the_row_is_the_parents_mean(name: str) -> None:
    made = fitted(name)
    rows = np.arange(40)
    row = import_module(ROWS[name]).fit(problem_of(made, np.ones(40), rows), 1e-12)
    axes = row_learner(ScorerSpec(name=name, options=dict(made.options))).axes
    mean = mean_row(made.tensors, axes, np.full(MODELS, 1 / MODELS))
    for key in axes:
        expected = unit_rows(mean[key][None])[0] if name in {"routerdc", "cosine_classifier"} else mean[key]
        assert row[key] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_newcomer_unlike_the_pool_is_seen_for_what_it_is(name: str) -> None:
    made = fitted(name)
    rows = np.random.default_rng(1).permutation(TASKS * PER_TASK)
    data = pool_of()[0]
    # Right on the first task alone: no mean of models that are right half the time.
    credit = np.array([float(data.tasks[row] == "task 0") for row in rows])
    problem = problem_of(made, credit, rows)
    learner = row_learner(ScorerSpec(name=name, options=dict(made.options)))
    learned = learner.learn(problem)
    assert learned.record["freedom"] in FREEDOMS

    tensors = with_row(made.tensors, learner.axes, learned.row, MODELS)
    scorer = Fitted(made.name, tensors, options=made.options).scorer(DIMENSIONS, MODELS + 1)
    figures = scorer.quality(data.vectors)[:, MODELS]
    is_first = np.array(data.tasks) == "task 0"
    assert figures[is_first].mean() > figures[~is_first].mean() + 0.3
    assert learned.held_out[credit == 1].mean() > learned.held_out[credit == 0].mean() + 0.3
    # The others' rows are what they were.
    for key, axis in learner.axes.items():
        assert np.array_equal(np.delete(tensors[key], MODELS, axis), made.tensors[key])


def test_a_newcomer_like_the_pool_is_held_closer_than_one_unlike_it() -> None:
    data, accuracy_T_M = pool_of()
    rows = np.random.default_rng(2).permutation(TASKS * PER_TASK)[:100]
    index = np.array([int(data.tasks[row][-1]) for row in rows])
    rng = np.random.default_rng(3)
    alike = (rng.random(len(rows)) < accuracy_T_M.mean(axis=1)[index]).astype(np.float64)
    made = fitted("task_prior")
    held = task_prior.learn(problem_of(made, alike, rows)).record["freedom"]
    freed = task_prior.learn(problem_of(made, np.ones(len(rows)), rows)).record["freedom"]
    assert held <= 1 < freed


def test_more_probes_bring_the_row_to_the_trainers_own() -> None:
    data, _ = pool_of()
    made = fitted("task_prior")
    full = made.tensors["accuracy"][:, -1]
    others = {**made.tensors, "accuracy": made.tensors["accuracy"][:, :-1]}
    gaps = []
    for count in (12, 240):
        rows = np.random.default_rng(4).permutation(TASKS * PER_TASK)[:count]
        problem = problem_of(made, data.credit[rows, -1], rows, tensors=others, column=MODELS - 1)
        problem = replace(problem, parents=np.full(MODELS - 1, 1 / (MODELS - 1)))
        gaps.append(float(np.abs(task_prior.learn(problem).row["accuracy"] - full).max()))
    assert gaps[1] < 0.06 < gaps[0]


@pytest.mark.parametrize("residual", ["knn", "clusters"])
def test_of_a_residual_that_cannot_be_learned_the_newcomer_gets_the_parents_mean(residual: str) -> None:
    made = method_named("prior_residual").fit(pool_of()[0], residual=residual)
    rows = np.arange(0, 240, 3)
    learner = row_learner(ScorerSpec(name="prior_residual", options=dict(made.options)))
    learned = learner.learn(problem_of(made, np.ones(len(rows)), rows))
    expected = made.tensors["residual.credit"].mean(axis=1)
    assert learned.row["residual.credit"] == pytest.approx(expected, abs=1e-6)
    assert (learned.row["prior.accuracy"] > made.tensors["prior.accuracy"].max()).all()


def test_the_ridge_is_the_posterior_under_the_pools_covariance() -> None:
    made = fitted("ridge")
    rows = np.arange(0, 240, 7)
    problem = problem_of(made, pool_of()[0].credit[rows, 0], rows)
    row = ridge.fit(problem, 2.0)
    # The same posterior in its other form, with the covariance written out: S Phi' (Phi S Phi' + sigma^2)^-1 r.
    vectors = problem.vectors.astype(np.float64)
    centre = vectors.mean(axis=0)
    weights = made.tensors["weight"].astype(np.float64)
    lines = np.column_stack([weights, made.tensors["bias"] + weights @ centre])
    deviation = deviations(lines)
    second = deviation.T @ deviation / MODELS
    covariance = 2.0 * (second + np.diag(np.diag(second))) / 2
    phi = np.column_stack([vectors - centre, np.ones(len(rows))])
    start = lines.mean(axis=0)
    left = problem.credit - phi @ start
    gain = covariance @ phi.T @ np.linalg.inv(phi @ covariance @ phi.T + (left**2).mean() * np.eye(len(rows)))
    expected = start + gain @ left
    assert row["weight"] == pytest.approx(expected[:-1], abs=1e-4)
    assert float(row["bias"]) == pytest.approx(expected[-1] - expected[:-1] @ centre, abs=1e-4)


def test_the_root_of_the_covariance_is_one() -> None:
    rows = np.random.default_rng(5).normal(size=(4, 3))
    deviation = rows - np.array([np.delete(rows, model, axis=0).mean(axis=0) for model in range(4)])
    second = deviation.T @ deviation / 4
    root = scatter_root(rows)
    assert root @ root.T == pytest.approx((second + np.diag(np.diag(second))) / 2)


def test_the_most_probable_weights_are_those_of_a_general_optimiser() -> None:
    rng = np.random.default_rng(6)
    phi, start, credit = rng.normal(size=(30, 4)), rng.normal(size=30), rng.random(30)

    def loss(u: Floats) -> float:
        logits = start + phi @ u
        return float((np.logaddexp(0, logits) - credit * logits).sum() + u @ u / (2 * 0.7))

    assert most_probable(phi, credit, start, 0.7) == pytest.approx(minimize(loss, np.zeros(4)).x, abs=1e-4)


def test_a_replaced_model_keeps_its_place() -> None:
    problem = two_models(column=0, parents=np.array([1.0, 0.0]))
    row = task_prior.fit(problem, 1.0)
    tensors = with_row(problem.tensors, task_prior.AXES, row, 0)
    assert tensors["accuracy"].shape == (2, 2)
    assert np.array_equal(tensors["accuracy"][:, 1], problem.tensors["accuracy"][:, 1])
    assert tensors["accuracy"][1, 0] < 0.4  # its one probe of the second task was wrong


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ScorerSpec(name="knn"), "scorer knn keeps what every model earned on each training query"),
        (ScorerSpec(name="oracle"), "scorer oracle: no model can be added to it"),
        (ScorerSpec(name="prior_residual", options={"residual": "mlp"}), "the residual 'mlp'; known: ridge"),
    ],
)
def test_a_scorer_without_an_honest_fit_is_refused_by_name(spec: ScorerSpec, says: str) -> None:
    with pytest.raises(DataError, match=says):
        row_learner(spec)
