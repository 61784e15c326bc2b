import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_core.errors import BundleError
from router_core.scoring.task_prior import TaskPrior
from router_core.tensors import AnyArray, Tensors

TASKS, DIMENSIONS, MODELS = 3, 2, 4
FIGURES = st.floats(-20, 20, width=32)
SHARES = st.floats(0, 1, width=32)


def prior(weight: npt.ArrayLike, bias: npt.ArrayLike, accuracy: npt.ArrayLike) -> TaskPrior:
    named = {"s.weight": weight, "s.bias": bias, "s.accuracy": accuracy}
    tensors: dict[str, AnyArray] = {name: np.asarray(value, dtype=np.float32) for name, value in named.items()}
    return TaskPrior(
        Tensors(tensors, "f", {"D": tensors["s.weight"].shape[1], "M": tensors["s.accuracy"].shape[1]}), "s.", {}
    )


def test_tasks_are_mixed_by_their_probability() -> None:
    # Logits ln 3 and 0, so the tasks have 3/4 and 1/4.
    scorer = prior([[math.log(3), 0], [0, 0]], [0, 0], [[0.8, 0.2, 1], [0.4, 0.6, 0]])
    vectors = np.array([[1, 5]], dtype=np.float32)
    np.testing.assert_allclose(scorer.tasks(vectors), [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(scorer.quality(vectors), [[0.7, 0.3, 0.75]], rtol=1e-6)


def test_a_vector_that_says_nothing_gets_the_mean_of_the_tasks() -> None:
    scorer = prior(np.ones((2, 3)), [0, 0], [[0.8, 0.2], [0.4, 0.6]])
    np.testing.assert_allclose(scorer.quality(np.zeros((1, 3), np.float32)), [[0.6, 0.4]], rtol=1e-6)


def test_a_sure_classifier_gives_one_tasks_accuracies() -> None:
    scorer = prior([[1e4], [-1e4]], [0, 0], [[0.8, 0.2], [0.4, 0.6]])
    figures = scorer.quality(np.array([[1], [-1]], dtype=np.float32))
    np.testing.assert_allclose(figures, [[0.8, 0.2], [0.4, 0.6]], rtol=1e-6)


@given(
    weight=arrays(np.float32, (TASKS, DIMENSIONS), elements=FIGURES),
    bias=arrays(np.float32, TASKS, elements=FIGURES),
    accuracy=arrays(np.float32, (TASKS, MODELS), elements=SHARES),
    vectors=arrays(np.float32, (2, DIMENSIONS), elements=st.floats(-3, 3, width=32)),
)
def test_the_mixture_is_as_written(
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    accuracy: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
) -> None:
    figures = prior(weight, bias, accuracy).quality(vectors)
    for x, row in zip(vectors.tolist(), figures, strict=True):
        logits = [sum(w * v for w, v in zip(weight[t].tolist(), x, strict=True)) + float(bias[t]) for t in range(TASKS)]
        powers = [math.exp(logit - max(logits)) for logit in logits]
        expected = [
            sum(power * float(accuracy[t, m]) for t, power in enumerate(powers)) / sum(powers) for m in range(MODELS)
        ]
        np.testing.assert_allclose(row, expected, atol=1e-4)
        assert (row >= accuracy.min(axis=0) - 1e-6).all()
        assert (row <= accuracy.max(axis=0) + 1e-6).all()


@pytest.mark.parametrize(
    ("weight", "bias", "accuracy", "message"),
    [
        (np.ones((2, 3)), np.ones(3), np.ones((2, 4)), r"s.bias: shape is \(3,\), expected \(T\) with T = 2"),
        (np.ones((2, 3)), np.ones(2), np.ones((3, 4)), r"s.accuracy: shape is \(3, 4\)"),
        (np.ones((2, 3)), [0, np.nan], np.ones((2, 4)), "s.bias: holds NaN"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    weight: npt.ArrayLike, bias: npt.ArrayLike, accuracy: npt.ArrayLike, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        prior(weight, bias, accuracy)
