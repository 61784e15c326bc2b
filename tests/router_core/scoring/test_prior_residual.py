import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from router_core.errors import BundleError
from router_core.scoring.prior_residual import PriorResidual
from router_core.scoring.task_prior import TaskPrior
from router_core.tensors import AnyArray, Tensors

PRIOR = {
    "s.prior.weight": [[math.log(3), 0], [0, 0]],
    "s.prior.bias": [0, 0],
    "s.prior.accuracy": [[0.8, 0.2, 1], [0.4, 0.6, 0]],
}
RIDGE = {"s.residual.weight": [[0, 1], [0, -1], [0, 0.5]], "s.residual.bias": [0.1, 0, 0], "s.strength": [0.5]}
VECTORS = np.array([[1, 0], [1, 0.4], [1, 10]], dtype=np.float32)


def tensors(named: Mapping[str, Any]) -> Tensors:
    arrays: dict[str, AnyArray] = {name: np.asarray(value, dtype=np.float32) for name, value in named.items()}
    return Tensors(arrays, "f", {"D": 2, "M": 3})


def test_without_a_residual_it_is_the_task_prior() -> None:
    expected = TaskPrior(tensors(PRIOR), "s.prior.", {}).quality(VECTORS)
    for options in ({}, {"residual": None}):
        scorer = PriorResidual(tensors(PRIOR), "s.", options)
        assert scorer.gives_probabilities
        np.testing.assert_array_equal(scorer.quality(VECTORS), expected)


def test_the_residual_is_added_by_its_strength_and_clipped() -> None:
    # The prior says 0.7, 0.3, 0.75 of each; the ridge adds half of (0.1, 0, 0), (0.5, -0.4, 0.2), (10.1, -10, 5).
    figures = PriorResidual(tensors(PRIOR | RIDGE), "s.", {"residual": "ridge"}).quality(VECTORS)
    expected = [[0.75, 0.3, 0.75], [0.95, 0.1, 0.85], [1, 0, 1]]
    np.testing.assert_allclose(figures, expected, rtol=1e-5)


def test_every_tensor_of_prior_and_residual_is_taken() -> None:
    held = tensors(PRIOR | RIDGE)
    PriorResidual(held, "s.", {"residual": "ridge"})
    held.refuse_rest()


def test_a_residual_may_have_tasks_of_its_own() -> None:
    residual = {
        "s.residual.weight": np.zeros((5, 2)),
        "s.residual.bias": np.zeros(5),
        "s.residual.accuracy": np.full((5, 3), 0.2),
        "s.strength": [1],
    }
    figures = PriorResidual(tensors(PRIOR | residual), "s.", {"residual": "task_prior"}).quality(VECTORS[:1])
    np.testing.assert_allclose(figures, [[0.9, 0.5, 0.95]], rtol=1e-5)


@pytest.mark.parametrize(
    ("named", "options", "message"),
    [
        (PRIOR, {"residual": "prior_residual"}, "f: scorer option residual is 'prior_residual', expected a scorer's"),
        (PRIOR, {"residual": 3}, "f: scorer option residual is 3, expected a scorer's name or null"),
        (PRIOR, {"residual": "oracle"}, "f: scorer 'oracle' is not known here; known: .*ridge"),
        (PRIOR, {"residual": "ridge"}, "tensor 's.residual.weight' is missing"),
        ({**PRIOR, **RIDGE, "s.strength": [1, 1]}, {"residual": "ridge"}, r"s.strength: shape is \(2,\)"),
        (RIDGE, {"residual": "ridge"}, "tensor 's.prior.weight' is missing"),
    ],
)
def test_a_residual_that_cannot_be_is_refused(named: Mapping[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        PriorResidual(tensors(named), "s.", options)


def test_the_residuals_tensors_are_unknown_without_it() -> None:
    held = tensors(PRIOR | RIDGE)
    PriorResidual(held, "s.", {})
    with pytest.raises(BundleError, match=r"unknown tensor 's\.residual\.bias'"):
        held.refuse_rest()
