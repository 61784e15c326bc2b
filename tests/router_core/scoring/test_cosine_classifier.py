import numpy as np
import pytest
from scipy.special import log_softmax

from router_core.errors import BundleError
from router_core.scoring.cosine_classifier import CosineClassifier
from router_core.tensors import Tensors


def scorer(weight: object, temperature: float) -> CosineClassifier:
    arrays = {
        "weight": np.array(weight, dtype=np.float32),
        "temperature": np.array([temperature], dtype=np.float32),
    }
    models, dimensions = arrays["weight"].shape
    return CosineClassifier(Tensors(arrays, "f", {"D": dimensions, "M": models}), "", {})


def test_log_shares_by_hand() -> None:
    # Cosines 0.6 and 0.8, divided by 0.2: 3 and 4.
    quality = scorer([[2, 0], [0, 5]], 0.2).quality(np.array([[3, 4]], dtype=np.float32))
    total = np.exp(3) + np.exp(4)
    assert quality[0].tolist() == pytest.approx([3 - np.log(total), 4 - np.log(total)], rel=1e-5)


def test_it_is_scipys_log_softmax_of_cosines() -> None:
    rng = np.random.default_rng(0)
    weight, queries = rng.normal(size=(5, 8)), rng.normal(size=(20, 8))
    cosines = [[(q @ w) / np.linalg.norm(q) / np.linalg.norm(w) for w in weight] for q in queries]
    expected = log_softmax(np.array(cosines) / 0.1, axis=1)
    quality = scorer(weight, 0.1).quality(queries.astype(np.float32))
    np.testing.assert_allclose(quality, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(quality).sum(axis=1), 1.0, rtol=1e-5)


def test_the_length_of_a_query_says_nothing_and_a_zero_one_is_split_evenly() -> None:
    classifier = scorer([[2, 0], [1, 1]], 0.5)
    queries = np.array([[3, 4], [300, 400], [0, 0]], dtype=np.float32)
    quality = classifier.quality(queries)
    np.testing.assert_allclose(quality[0], quality[1], rtol=1e-5)
    assert np.exp(quality[2]).tolist() == pytest.approx([0.5, 0.5])


def test_the_least_temperature_does_not_overflow() -> None:
    quality = scorer([[1, 0], [0, 1]], 1e-30).quality(np.array([[1, 0]], dtype=np.float32))
    assert np.isfinite(quality).all()
    assert quality.argmax() == 0


def test_its_figures_are_no_probabilities() -> None:
    assert not CosineClassifier.gives_probabilities


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(BundleError, match=r"^f: temperature: (0|-0.1) must be above 0$"):
        scorer([[1, 0]], temperature)
