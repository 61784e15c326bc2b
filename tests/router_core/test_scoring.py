from pathlib import Path

import numpy as np
import pytest

from router_core.bundle import EncoderSpec, RouterBundle, RouterWeights, save_bundle
from router_core.errors import BundleError
from router_core.scoring import scorer_from_bundle


def bundle_of(path: Path, weights: RouterWeights, dimensions: int, confidence_temperature: float = 1.0) -> RouterBundle:
    return save_bundle(
        path,
        models=[f"m{i}" for i in range(len(weights.llm_embeddings))],
        encoder=EncoderSpec(name="e", digest="0" * 64, dimensions=dimensions, max_tokens=8),
        weights=weights,
        temperature=1.0,
        confidence_temperature=confidence_temperature,
    )


def test_scores_are_cosines_with_the_llm_embeddings(tmp_path: Path) -> None:
    weights = RouterWeights(np.array([[2, 0], [0, 3], [1, 1]], dtype=np.float32))
    scores = scorer_from_bundle(bundle_of(tmp_path / "b", weights, 2)).score(np.array([[3, 4]], dtype=np.float32))
    np.testing.assert_allclose(scores.similarities, [[0.6, 0.8, 1.4 / np.sqrt(2)]], rtol=1e-6)
    assert scores.ranking().tolist() == [[2, 1, 0]]


def test_the_head_is_applied_before_the_cosine(tmp_path: Path) -> None:
    weights = RouterWeights(
        llm_embeddings=np.array([[1, 0], [0, 1]], dtype=np.float32),
        projection_weight=np.array([[1, 0, 0], [0, 2, 0]], dtype=np.float32),
        projection_bias=np.array([0, 1], dtype=np.float32),
    )
    scores = scorer_from_bundle(bundle_of(tmp_path / "b", weights, 3)).score(np.array([[3, 1.5, 9]], dtype=np.float32))
    np.testing.assert_allclose(scores.similarities, [[0.6, 0.8]], rtol=1e-6)


def test_confidences_are_a_softmax_at_the_confidence_temperature(tmp_path: Path) -> None:
    weights = RouterWeights(np.eye(2, dtype=np.float32))
    scores = scorer_from_bundle(bundle_of(tmp_path / "b", weights, 2, 0.1)).score(
        np.array([[0.6, 0.8], [1, 0]], dtype=np.float32)
    )
    expected = np.exp([[6, 8], [10, 0]]) / np.exp([[6, 8], [10, 0]]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.confidences, expected, rtol=1e-5)
    np.testing.assert_allclose(scores.confidences.sum(axis=1), 1.0, rtol=1e-6)


def test_ties_and_zero_vectors_keep_the_bundles_order(tmp_path: Path) -> None:
    scorer = scorer_from_bundle(bundle_of(tmp_path / "b", RouterWeights(np.eye(3, dtype=np.float32)), 3))
    scores = scorer.score(np.array([[0, 0, 0], [1, 0, 1]], dtype=np.float32))
    assert scores.ranking().tolist() == [[0, 1, 2], [0, 2, 1]]
    np.testing.assert_allclose(scores.confidences[0], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-50, 1e-4, 1e4])
def test_a_confidence_temperature_that_float32_cannot_use_is_refused(tmp_path: Path, temperature: float) -> None:
    weights = RouterWeights(np.eye(2, dtype=np.float32))
    with pytest.raises(BundleError, match="confidence_temperature"):
        bundle_of(tmp_path / "b", weights, 2, temperature)


def test_weights_that_overflow_are_an_error_not_nan(tmp_path: Path) -> None:
    huge = RouterWeights(
        llm_embeddings=np.eye(2, dtype=np.float32),
        projection_weight=np.full((2, 2), 3e38, dtype=np.float32),
        projection_bias=np.zeros(2, dtype=np.float32),
    )
    scorer = scorer_from_bundle(bundle_of(tmp_path / "b", huge, 2))
    with pytest.raises(BundleError, match="overflow"):
        scorer.score(np.ones((1, 2), dtype=np.float32))


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones((1, 4), dtype=np.float32), r"\(queries, 3\), the encoder gave \(1, 4\)"),
        (np.ones(3, dtype=np.float32), r"the encoder gave \(3,\)"),
        (np.array([[1, np.nan, 0]], dtype=np.float32), "NaN or infinity"),
    ],
)
def test_embeddings_of_another_encoder_are_refused(
    tmp_path: Path, embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float32]], message: str
) -> None:
    scorer = scorer_from_bundle(bundle_of(tmp_path / "b", RouterWeights(np.eye(3, dtype=np.float32)), 3))
    with pytest.raises(BundleError, match=message):
        scorer.score(embeddings)
