import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_core.errors import BundleError
from router_core.scoring.novelty import Novelty
from router_core.tensors import AnyArray, Tensors

FIGURES = st.floats(-10, 10, width=32)
CENTROIDS = [[0, 0], [6, 8]]


def novelty(
    centroids: npt.ArrayLike = CENTROIDS, scale: npt.ArrayLike = (1, 1), bounds: npt.ArrayLike = (1, 3)
) -> Novelty:
    named: dict[str, Any] = {"centroids": centroids, "scale": scale, "bounds": bounds, "base_rates": [0.5, 0.25, 0.125]}
    tensors: dict[str, AnyArray] = {f"n.{name}": np.asarray(value, dtype=np.float32) for name, value in named.items()}
    held = Tensors(tensors, "f", {"D": len(np.asarray(scale)), "M": 3})
    made = Novelty(held, "n.")
    held.refuse_rest()
    return made


def test_the_distance_is_to_the_nearest_centroid() -> None:
    vectors = np.array([[3, 4], [6, 8], [6, 7], [0, 0]], np.float32)
    # Roots of mean squares: of (3, 4), of nothing, of (0, 1), of nothing.
    expected = [math.sqrt(12.5), 0, math.sqrt(0.5), 0]
    np.testing.assert_allclose(novelty().distances(vectors), expected, atol=1e-3)


def test_a_dimension_counts_by_its_scale() -> None:
    vectors = np.array([[1, 1000]], np.float32)
    np.testing.assert_allclose(novelty([[0, 0]], (4, 0)).distances(vectors), [math.sqrt(8)], rtol=1e-5)


@given(
    centroids=arrays(np.float32, (3, 4), elements=FIGURES),
    scale=arrays(np.float32, 4, elements=st.floats(0, 4, width=32)),
    vectors=arrays(np.float32, (5, 4), elements=FIGURES),
)
def test_the_distance_is_as_written(
    centroids: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32]
) -> None:
    distances = novelty(centroids, scale).distances(vectors)
    for x, distance in zip(vectors.tolist(), distances.tolist(), strict=True):
        each = [
            sum(((a - b) * s) ** 2 for a, b, s in zip(x, centroid, scale.tolist(), strict=True)) / 4
            for centroid in centroids.tolist()
        ]
        # Squares up to 1e4 leave a rounding of about 1e-3, all of it visible near a distance of zero.
        assert distance**2 == pytest.approx(min(each), rel=1e-4, abs=0.02)


def test_rounding_never_takes_the_root_of_less_than_nothing() -> None:
    centroids = np.random.default_rng(0).normal(scale=30, size=(50, 9)).astype(np.float32)
    distances = novelty(centroids, np.full(9, 0.7)).distances(centroids)
    assert (distances >= 0).all()
    assert (distances < 0.1).all()


def test_novelty_grows_between_its_bounds() -> None:
    # With one dimension the distance is the difference.
    made = novelty([[0]], (1,), (1, 3))
    vectors = np.array([[0], [1], [1.5], [-2], [3], [99]], np.float32)
    np.testing.assert_allclose(made.novelty(vectors, np.zeros(6, np.float32)), [0, 0, 0.25, 0.5, 0.95, 0.95], atol=1e-6)


def test_what_was_cut_off_makes_a_text_newer_by_half_its_share() -> None:
    made = novelty([[0]], (1,), (1, 3))
    vectors = np.array([[0], [0], [2], [99]], np.float32)
    lost = np.array([0.5, 1, 0.5, 0.5], np.float32)
    np.testing.assert_allclose(made.novelty(vectors, lost), [0.25, 0.5, 1 - 0.5 * 0.75, 1 - 0.05 * 0.75], atol=1e-6)


@given(
    vectors=arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32)),
    lost=arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
)
def test_novelty_is_a_share(vectors: npt.NDArray[np.float32], lost: npt.NDArray[np.float32]) -> None:
    shares = novelty().novelty(vectors, lost)
    assert shares.dtype == np.float32
    assert ((shares >= 0) & (shares < 1)).all()


def test_the_base_rate_is_the_models_mean_and_the_tensors_are_left_alone() -> None:
    scale = np.array([2, 3], np.float32)
    tensors: dict[str, AnyArray] = {
        "n.centroids": np.ones((1, 2), np.float32),
        "n.scale": scale,
        "n.bounds": np.array([0, 1], np.float32),
        "n.base_rates": np.array([0.25, 0.5], np.float32),
    }
    made = Novelty(Tensors(tensors, "f", {"D": 2, "M": 2}), "n.")
    assert made.base_rate == 0.375
    assert scale.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bounds": (3, 1)}, r"f: n.bounds: \[3.0, 1.0\] must be two rising distances"),
        ({"bounds": (1, 1)}, "must be two rising distances"),
        ({"bounds": (-1, 1)}, "must be two rising distances"),
        ({"bounds": (1, 2, 3)}, "must be two rising distances"),
        ({"bounds": (np.nan, 1)}, "f: n.bounds: holds NaN"),
        ({"centroids": np.ones((2, 3))}, r"f: n.centroids: shape is \(2, 3\), expected \(K, D\) with D = 2"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        novelty(**changes)
