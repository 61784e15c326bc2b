import numpy as np
import pytest

from router_core.features import SURFACE_DIMENSIONS, FeaturesEncoder
from router_core.tensors import Tensors
from router_training.errors import DataError
from router_training.routers.feature_fitting import SURFACE_WEIGHT, fit_features

SUMS = [f"What is {a} plus {b}, and what is their product?" for a in range(12) for b in range(12)]
VERSES = [f"Write a verse about the {thing} and the {other}" for thing in ("sea", "moon") for other in ("sun", "sky")]


def encoder_of(questions: list[str], **options: object) -> FeaturesEncoder:
    spec, tensors = fit_features(questions, **options)  # type: ignore[arg-type]
    return FeaturesEncoder(spec, Tensors(tensors, "test", {"D": spec.dimensions}))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_like_texts_lie_close_and_unlike_ones_apart() -> None:
    encoder = encoder_of(SUMS + VERSES, directions=3)
    vectors, lost = encoder.encode(["What is 71 plus 35?", "What is 9 plus 9", "A verse about the sea and the wind"])
    topic = vectors[:, :3]
    assert cosine(topic[0], topic[1]) > cosine(topic[0], topic[2]) + 0.2
    assert not lost.any()


def test_the_directions_are_those_of_a_dense_svd() -> None:
    """The independent formulation: weigh and normalise every row in the open, take numpy's SVD, compare projections."""
    questions = SUMS[:20] + VERSES
    spec, tensors = fit_features(questions, directions=3, buckets=256)
    from router_core.features import cut, ngram_counts

    dense = np.zeros((len(questions), 256))
    for row, question in enumerate(questions):
        found, weight = ngram_counts(cut(question, spec.max_bytes)[0], 256, spec.ngrams)
        dense[row, found] = weight
    idf = np.log((1 + len(questions)) / (1 + (dense > 0).sum(axis=0))) + 1
    unit = dense * idf / np.linalg.norm(dense * idf, axis=1, keepdims=True)
    rows = np.linalg.svd(unit)[2][:3]
    ours = FeaturesEncoder(spec, Tensors(tensors, "test", {"D": spec.dimensions})).encode(questions)[0][:, :3]
    assert np.allclose(np.abs(ours), np.abs(unit @ rows.T), atol=2e-3)


def test_weights_give_a_small_task_its_share_of_the_directions() -> None:
    weights = np.concatenate([np.full(len(SUMS), 0.5), np.full(len(VERSES), 18.0)])
    plain, weighed = encoder_of(SUMS + VERSES, directions=2), encoder_of(SUMS + VERSES, directions=2, weights_N=weights)
    kept = [float(np.linalg.norm(encoder.encode(VERSES)[0][:, :2])) for encoder in (plain, weighed)]
    assert kept[1] > kept[0]


def test_surface_features_are_standardised_and_a_constant_one_is_silent() -> None:
    vectors = encoder_of(SUMS, directions=4).encode(SUMS)[0][:, 4:]
    assert vectors.shape[1] == SURFACE_DIMENSIONS
    spread = vectors.std(axis=0)
    assert np.allclose(vectors.mean(axis=0), 0, atol=1e-4)
    assert all(np.isclose(one, SURFACE_WEIGHT, rtol=1e-2) or one == 0 for one in spread)
    assert (spread == 0).any()


def test_the_same_questions_give_the_same_tensors() -> None:
    one, again = (fit_features(SUMS, directions=4)[1] for _ in range(2))
    assert all(np.array_equal(one[name], again[name]) for name in one)


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(DataError, match="2 different questions are too few"):
        fit_features(["a", "b", "a"])
