from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_core.errors import BundleError
from router_core.manifest import BundleManifest
from router_core.scoring.learned import LearnedRouter, Scores
from router_core.tensors import AnyArray, Tensors
from tests.support.small_bundle import small_bundle

MODELS = ("a", "b", "c")
DIMENSIONS = 2
FIGURES = st.floats(-5, 5, width=32)


def router(
    *, pending: Sequence[str] = (), method: str = "temperature", scorer: str = "ridge", **changes: npt.ArrayLike
) -> LearnedRouter:
    """A ridge whose figures of (x, y) are x, y and 0, calibrated to their sigmoids; new beyond a distance of 1."""
    named: dict[str, Any] = {
        "scorer.weight": [[1, 0], [0, 1], [0, 0]],
        "scorer.bias": [0, 0, 0],
        "calibration.slope": [1, 1, 1],
        "calibration.bias": [0, 0, 0],
        "novelty.centroids": [[0, 0]],
        "novelty.scale": [1, 0],
        "novelty.bounds": [1, 3],
        "novelty.base_rates": [0.1, 0.2, 0.6],
    } | {name.replace("__", "."): value for name, value in changes.items()}
    tensors: dict[str, AnyArray] = {name: np.asarray(value, dtype=np.float32) for name, value in named.items()}
    manifest = BundleManifest.model_validate(
        {
            "models": MODELS,
            "encoder": {
                "backend": "sentence-transformers",
                "name": "e",
                "digest": "0" * 64,
                "dimensions": DIMENSIONS,
                "max_tokens": 8,
            },
            "scorer": {"name": scorer},
            "calibration": {"method": method, "pending": pending},
            "files": {"router.safetensors": {"sha256": "0" * 64, "bytes": 0}},
        }
    )
    return LearnedRouter(manifest, Tensors(tensors, "f", {"M": len(MODELS), "D": DIMENSIONS}))


def vectors(*rows: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def scores(probability: npt.ArrayLike, is_calibrated: Sequence[bool] = (True, True, True)) -> Scores:
    figures = np.asarray(probability, dtype=np.float32)
    return Scores(figures, figures, np.zeros(len(figures), dtype=np.float32), np.array(is_calibrated))


def test_a_known_query_is_scored_and_calibrated() -> None:
    found = router().score(vectors([1, -2]))
    np.testing.assert_allclose(found.quality, [[1, -2, 0]])
    np.testing.assert_allclose(found.probability, [1 / (1 + np.exp([[-1, 2, 0]]))][0], rtol=1e-6)
    assert found.novelty.tolist() == [0]
    assert found.is_calibrated.tolist() == [True, True, True]
    assert found.ranking().tolist() == [[0, 2, 1]]


def test_a_new_query_draws_the_models_together_and_keeps_their_order() -> None:
    # The distance of (x, y) is |x| / sqrt(2): half way between the bounds, then beyond them.
    found = router().score(vectors([2 * np.sqrt(2), 0], [99, -99]))
    np.testing.assert_allclose(found.novelty, [0.5, 0.95], atol=1e-5)
    base_rate = (0.1 + 0.2 + 0.6) / 3
    calibrated = 1 / (1 + np.exp([-2 * np.sqrt(2), 0, 0]))
    np.testing.assert_allclose(found.probability[0], (calibrated + base_rate) / 2, rtol=1e-5)
    np.testing.assert_allclose(found.probability[1], 0.05 * np.array([1, 0, 0.5]) + 0.95 * base_rate, rtol=1e-5)
    assert found.ranking()[1].tolist() == [0, 2, 1]


def test_a_text_that_was_cut_is_newer() -> None:
    found = router().score(vectors([0, 0], [2, -2]), np.array([0, 0.5], dtype=np.float32))
    assert found.novelty[0] == 0
    known = router().score(vectors([2, -2]))
    share = 1 - (1 - known.novelty[0]) * 0.75
    assert found.novelty[1] == pytest.approx(share)
    calibrated = 1 / (1 + np.exp([-2, 2, 0]))
    np.testing.assert_allclose(found.probability[1], (1 - share) * calibrated + share * 0.3, rtol=1e-5)


@given(figures=arrays(np.float32, (8, 2), elements=st.integers(-50, 50).map(lambda tenths: tenths / 10)))
def test_novelty_never_reorders_the_models(figures: npt.NDArray[np.float32]) -> None:
    strange, familiar = router(), router(novelty__bounds=[1e6, 1e7])
    found = strange.score(figures).ranking()
    np.testing.assert_array_equal(found, familiar.score(figures).ranking())


def test_a_scorer_of_probabilities_needs_no_calibration() -> None:
    changes = {"scorer__weight": [[0, 0]], "scorer__bias": [0], "scorer__accuracy": [[0.9, 0.5, 0.1]]}
    found = router(scorer="task_prior", method="none", **changes).score(vectors([0, 0]))
    np.testing.assert_allclose(found.probability, [[0.9, 0.5, 0.1]], rtol=1e-6)


def test_cost_is_subtracted_from_the_probability() -> None:
    found = scores([[0.5, 0.75, 0.25]])
    assert found.ranking().tolist() == [[1, 0, 2]]
    assert found.ranking(np.array([0, 0.5, 0], dtype=np.float32)).tolist() == [[0, 1, 2]]
    assert found.ranking(np.array([0.5, 0.75, 0.125], dtype=np.float32)).tolist() == [[2, 0, 1]]


def test_ties_keep_the_bundles_order() -> None:
    assert scores([[0.5, 0.5, 0.5], [0.25, 0.5, 0.5]]).ranking().tolist() == [[0, 1, 2], [1, 2, 0]]
    halves = scores([[0.25, 0.5] * 50], [True] * 100).ranking()[0].tolist()
    assert halves == [*range(1, 100, 2), *range(0, 100, 2)]


def test_models_with_too_few_probes_come_last_in_their_own_order() -> None:
    found = router(pending=["b", "a"]).score(vectors([2, 1], [1, 2]))
    assert found.is_calibrated.tolist() == [False, False, True]
    assert found.ranking().tolist() == [[2, 0, 1], [2, 1, 0]]
    # However dear the others are.
    assert found.ranking(np.array([0, 0, 9], dtype=np.float32)).tolist() == [[2, 0, 1], [2, 1, 0]]


@given(
    probability=arrays(np.float32, (3, 3), elements=st.floats(0, 1, width=32)), pending=st.tuples(*[st.booleans()] * 3)
)
def test_a_ranking_is_a_stable_sort(probability: npt.NDArray[np.float32], pending: tuple[bool, bool, bool]) -> None:
    found = scores(probability, [not each for each in pending]).ranking()
    for row, figures in zip(found.tolist(), probability.tolist(), strict=True):
        assert [each for each in row if not pending[each]] == sorted(
            (each for each in range(3) if not pending[each]), key=lambda each: (-figures[each], each)
        )
        assert sorted(row) == [0, 1, 2]
        assert [pending[each] for each in row] == sorted(pending)


@given(
    rows=arrays(np.float32, (4, 2), elements=FIGURES), lost=arrays(np.float32, 4, elements=st.floats(0, 1, width=32))
)
def test_a_batch_gives_what_each_query_gives_alone(
    rows: npt.NDArray[np.float32], lost: npt.NDArray[np.float32]
) -> None:
    together = router().score(rows, lost)
    for i in range(len(rows)):
        alone = router().score(rows[i : i + 1], lost[i : i + 1])
        np.testing.assert_allclose(together.probability[i], alone.probability[0], rtol=1e-5)
        np.testing.assert_allclose(together.novelty[i], alone.novelty[0], atol=1e-5)


def test_no_query_gives_no_row() -> None:
    found = router().score(np.empty((0, DIMENSIONS), dtype=np.float32))
    assert (found.probability.shape, found.novelty.shape, found.ranking().shape) == ((0, 3), (0,), (0, 3))


def test_vectors_in_double_precision_are_scored_in_single() -> None:
    doubles: Any = np.array([[0.1, 0.2]])
    found = router().score(doubles)
    assert found.probability.dtype == np.float32
    np.testing.assert_array_equal(found.probability, router().score(doubles.astype(np.float32)).probability)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's own word on an infinity times zero
@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (np.ones((1, 3), dtype=np.float32), r"shape \(queries, 2\), the encoder gave \(1, 3\): it is not the encoder"),
        (np.ones(2, dtype=np.float32), r"the encoder gave \(2,\)"),
        (vectors([0, np.nan]), "the encoder gave a vector that holds NaN or infinity"),
        (vectors([0, 0], [np.inf, 0]), "NaN or infinity"),
    ],
)
def test_vectors_of_another_encoder_are_refused(encoded: npt.NDArray[np.float32], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        router().score(encoded)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's own word on the overflow that is to be noticed
def test_weights_that_overflow_are_an_error_not_nan(sign: int) -> None:
    # Calibrated, an infinite figure would look like a sure 0 or 1.
    huge = router(scorer__weight=[[sign * 3e38, 0], [0, 1], [0, 0]])
    with pytest.raises(BundleError, match="so large that its scores overflow"):
        huge.score(vectors([2, 0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": "oracle"}, "f: scorer 'oracle' is not known here"),
        ({"method": "none"}, "f: calibration none needs a scorer that gives probabilities"),
        ({"novelty__base_rates": [0.5, 0.5]}, r"f: novelty.base_rates: shape is \(2,\), expected \(M\) with M = 3"),
        ({"scorer__weight": np.ones((3, 5))}, r"f: scorer.weight: shape is \(3, 5\), expected \(M, D\)"),
    ],
)
def test_tensors_that_do_not_fit_the_manifest_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        router(**changes)


def test_a_router_may_be_shared_by_threads(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "b", calibration="isotonic", swaps_on_exclamation=True)
    assert bundle.features is not None
    encoded, lost = bundle.features.encode([f"{'!' * (i % 3)} question {i} {'中' * (i % 50)}" for i in range(200)])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: bundle.router.score(encoded[i : i + 1], lost[i : i + 1]), range(200)))
    together = bundle.router.score(encoded, lost)
    np.testing.assert_allclose(np.concatenate([each.probability for each in found]), together.probability, rtol=1e-5)
