import numpy as np
import pytest

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray
from router_core.scoring.routerdc import RouterDC
from router_core.tensors import Tensors


def scorer(dimensions: int, llm_embeddings: object, **head: object) -> RouterDC:
    named = {"llm_embeddings": llm_embeddings} | {f"projection.{name}": value for name, value in head.items()}
    arrays = {name: np.array(value, dtype=np.float32) for name, value in named.items()}
    return RouterDC(Tensors(arrays, "f", {"D": dimensions, "M": len(arrays["llm_embeddings"])}), "", {})


def vectors(*rows: list[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


def test_figures_are_cosines_with_the_llm_embeddings() -> None:
    quality = scorer(2, [[2, 0], [0, 3], [1, 1]]).quality(vectors([3, 4]))
    np.testing.assert_allclose(quality, [[0.6, 0.8, 1.4 / np.sqrt(2)]], rtol=1e-6)


def test_the_head_is_applied_before_the_cosine() -> None:
    head = {"weight": [[1, 0, 0], [0, 2, 0]], "bias": [0, 1]}
    quality = scorer(3, [[1, 0], [0, 1]], **head).quality(vectors([3, 1.5, 9]))
    np.testing.assert_allclose(quality, [[0.6, 0.8]], rtol=1e-6)


def test_the_length_of_a_query_or_of_an_embedding_says_nothing() -> None:
    quality = scorer(2, [[2, 0], [1, 1]]).quality(vectors([3, 4]))
    np.testing.assert_allclose(scorer(2, [[0.1, 0], [50, 50]]).quality(vectors([300, 400])), quality, rtol=1e-6)


def test_a_zero_vector_is_equally_unlike_every_llm() -> None:
    assert scorer(3, np.eye(3)).quality(vectors([0, 0, 0])).tolist() == [[0, 0, 0]]


def test_its_figures_are_no_probabilities() -> None:
    assert not RouterDC.gives_probabilities


@pytest.mark.parametrize(
    ("embeddings", "head", "message"),
    [
        (np.ones((2, 3)), {}, r"^f: llm_embeddings: shape is \(2, 3\), expected \(M, D\) with M = 2, D = 4$"),
        (np.ones((2, 3)), {"weight": np.ones((3, 4))}, "projection.weight and projection.bias come together"),
        (np.ones((2, 3)), {"weight": np.ones((3, 5)), "bias": np.ones(3)}, r"projection.weight: shape is \(3, 5\)"),
        (np.ones((2, 5)), {"weight": np.ones((3, 4)), "bias": np.ones(3)}, r"llm_embeddings: shape is \(2, 5\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(embeddings: object, head: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        scorer(4, embeddings, **head)
