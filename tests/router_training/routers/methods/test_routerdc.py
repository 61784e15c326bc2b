import numpy as np
import pytest
from pydantic import JsonValue, ValidationError

from router_training.errors import DataError, JobConfigError
from router_training.routers.methods.base import FitData, Fitted, quality_of
from router_training.routers.methods.routerdc import GRID, fit

RNG = np.random.default_rng(0)
N, M, D = 90, 3, 8
WINNER = np.arange(N) % M
VECTORS = (3 * np.eye(M, D)[WINNER] + RNG.normal(size=(N, D))).astype(np.float32)
CREDIT = np.eye(M)[WINNER]
TASKS = tuple(f"task {winner}" for winner in WINNER)
DATA = FitData(VECTORS, CREDIT, CREDIT, TASKS, table_clusters=WINNER.astype(np.int64))
SMALL: dict[str, JsonValue] = {
    "steps": 60, "batch_size": 16, "evaluate_every": 10, "validation_fraction": 0.3, "projection": 8,
    "learning_rate": 0.02,
}  # fmt: skip


def small(data: FitData = DATA, **changes: JsonValue) -> Fitted:
    return fit(data, **(SMALL | changes))


def routed(fitted: Fitted) -> float:
    choice = quality_of(fitted, VECTORS, M).argmax(axis=1)
    return float(CREDIT[np.arange(N), choice].mean())


@pytest.mark.parametrize(
    "changes",
    [
        *GRID,
        {"cluster_weight": 0.0},
        {"cluster_source": "table"},
        {"cluster_source": "kmeans", "cluster_count": 3},
        {"released_code_faults": True},
        {"samples_per_task": 20},
        {"k_positive": 1, "k_negative": 2},
        {"train_encoder": False},
    ],
    ids=str,
)
def test_a_separable_pool_is_learned(changes: dict[str, JsonValue]) -> None:
    assert routed(small(**changes)) >= 0.9


def test_it_ranks_by_the_scores_or_by_credit() -> None:
    """Scores that contradict what is credited, as a model may be sharp where it is wrong."""
    contrary = FitData(VECTORS, CREDIT, np.roll(CREDIT, 1, axis=1), TASKS)
    by_scores, by_credit = (small(contrary, labels=labels, evaluate_every=60) for labels in ("scores", "credit"))
    assert routed(by_scores) < 0.2
    assert routed(by_credit) >= 0.9


def test_the_settings_that_were_used_are_recorded() -> None:
    settings = small(temperature=0.5).settings
    assert (settings["temperature"], settings["steps"], settings["projection"]) == (0.5, 60, 8)
    assert (settings["k_positive"], settings["k_negative"], settings["learning_rate"]) == (1, 1, 0.02)
    assert settings["step"] in range(10, 61, 10)
    assert not settings.keys() & {"data", "out", "encoder", "seed"}


def test_the_seed_decides() -> None:
    first, again = small(), small()
    other = small(FitData(VECTORS, CREDIT, CREDIT, TASKS, seed=1))
    assert all((first.tensors[name] == again.tensors[name]).all() for name in first.tensors)
    assert not np.allclose(first.tensors["llm_embeddings"], other.tensors["llm_embeddings"])


def test_clusters_of_the_table_need_a_table_that_has_them() -> None:
    with pytest.raises(DataError, match="cluster_source: table, but some rows have no cluster_id; use kmeans"):
        small(FitData(VECTORS, CREDIT, CREDIT, TASKS), cluster_source="table")


def test_equal_vectors_never_stand_on_both_sides_of_the_inner_split() -> None:
    """Two different vectors in all, one a task: held out, they leave nothing to train on."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    credit = np.repeat(np.eye(2), 20, axis=0)
    with pytest.raises(DataError, match="40 rows are too few to cut a validation split from"):
        small(FitData(vectors, credit, credit, ("a",) * 20 + ("b",) * 20))


def test_users_own_clusters_do_not_balance_what_chooses_the_checkpoint() -> None:
    clusters = tuple(f"cluster {winner}" for winner in WINNER)
    assert routed(small(FitData(VECTORS, CREDIT, CREDIT, clusters, is_balanced=False))) >= 0.9


def test_models_too_few_for_both_sides_of_the_contrast_are_refused() -> None:
    with pytest.raises(JobConfigError, match=r"k_positive \+ k_negative is 2 \+ 2, but the tables score only 3"):
        small(k_positive=2, k_negative=2)


def test_there_is_no_encoder_to_train() -> None:
    with pytest.raises(JobConfigError, match=r"^train_encoder: the vectors are given"):
        fit(DATA, train_encoder=True)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="k_neutral"):
        small(k_neutral=1)
