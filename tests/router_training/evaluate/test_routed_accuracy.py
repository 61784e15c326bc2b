import numpy as np
import pytest

from router_training.evaluate.routed_accuracy import (
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    bootstrap_interval,
    credit_of_scores,
    mean_accuracies,
)

# Three queries, three models. Model 0 is the best of the first file, model 1 of the second and of the mean.
FIRST = RoutedFile("first", np.array([[1, 0.5, 0], [1, 1, 0], [0, 0, 0.3]]), np.array([0, 2, 2]))
SECOND = RoutedFile("second", np.array([[0, 1.0, 0], [0, 1.0, 1.0]]), np.array([1, 0]))


def test_every_figure_by_hand() -> None:
    best = best_single_model([FIRST, SECOND])
    assert best == 1
    first, second = accuracies_of_file(FIRST, best), accuracies_of_file(SECOND, best)
    assert first.routed == pytest.approx((1 + 0 + 0.3) / 3)
    assert first.best_single == pytest.approx(1.5 / 3)
    assert first.file_best == pytest.approx(2 / 3)
    assert first.random == pytest.approx(3.8 / 9)
    assert first.oracle == pytest.approx(2.3 / 3)
    assert (second.routed, second.best_single, second.file_best) == (0.5, 1.0, 1.0)
    mean = mean_accuracies([first, second])
    assert mean.routed == pytest.approx((1.3 / 3 + 0.5) / 2)
    assert mean.best_single == pytest.approx(0.75)
    assert mean.file_best == pytest.approx((2 / 3 + 1) / 2)
    assert mean.n == 5


def test_the_best_single_model_is_one_model_and_the_mean_is_unweighted() -> None:
    long = RoutedFile("long", np.tile([1.0, 0.9], (1000, 1)), np.zeros(1000, dtype=np.intp))
    short = RoutedFile("short", np.array([[0.0, 1.0]]), np.array([0]))
    assert best_single_model([long, short]) == 1


def test_metrics() -> None:
    scores = np.array([[0.0, 0.3, 1.0]])
    np.testing.assert_array_equal(credit_of_scores(scores, "multi_attempt"), [[0.0, 0.3, 1.0]])
    np.testing.assert_array_equal(credit_of_scores(scores, "probability"), [[0.0, 1.0, 1.0]])


def test_the_bootstrap_interval_matches_the_normal_one_on_many_queries() -> None:
    values = (np.arange(4000) % 4 == 0).astype(np.float64)
    low, high = bootstrap_interval([values], resamples=4000, seed=0)
    half = 1.96 * np.sqrt(0.25 * 0.75 / 4000)
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.0015)


def test_a_paired_difference_without_spread_has_no_interval() -> None:
    assert bootstrap_interval([np.full(10, 0.5), np.full(3, -0.1)], resamples=50, seed=0) == pytest.approx((0.2, 0.2))


def test_files_count_alike_whatever_their_length() -> None:
    certain, coin = np.ones(5000), np.array([0.0, 1.0] * 50)
    low, high = bootstrap_interval([certain, coin], resamples=4000, seed=1)
    assert (low, high) == pytest.approx((0.70, 0.80), abs=0.006)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [np.random.default_rng(3).random(50)]
    first, again, other = (bootstrap_interval(values, resamples=500, seed=seed) for seed in (7, 7, 8))
    assert first == again != other
