from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from pydantic import JsonValue

from benchmarks.contenders import Contender, Vectors, compete, features_vectors
from benchmarks.line_up import ALL, PRIOR
from benchmarks.sides import Sides
from router_training.routers.methods.registry import METHODS
from tests.benchmarks.samples import BEST

FAST: Mapping[str, Mapping[str, JsonValue]] = {
    "mlp": {"hidden": 8, "epochs": 3},
    "clusters": {"clusters": 5},
    "routerdc": {"steps": 60, "evaluate_every": 20},
}


@pytest.fixture(scope="module")
def vectors(sides: Sides) -> Vectors:
    return features_vectors(sides)


def test_every_method_of_the_project_is_in_the_line_up_but_the_default_which_is_judged_as_served() -> None:
    assert {contender.method for contender in ALL} == METHODS.keys() - {"prior_residual"}
    assert len({contender.label for contender in ALL}) == len(ALL)


def test_a_method_that_recognises_the_task_asks_its_best_model(sides: Sides, vectors: Vectors) -> None:
    result = compete(PRIOR, sides, vectors, (0, 1))
    (choice,) = result.choices
    for task, best in BEST.items():
        assert (choice[sides.rows(task)] == best).all()
    assert result.mean_earned.tolist() == sides.test.credit[np.arange(len(choice)), choice].tolist()
    assert result.scorer_bytes == 4 * (5 * vectors.test.shape[1] + 5 + 5 * 4)


@pytest.mark.parametrize("method", FAST)
def test_methods_that_draw_are_fitted_once_per_seed(sides: Sides, vectors: Vectors, method: str) -> None:
    result = compete(Contender("it", method, FAST[method]), sides, vectors, (0, 1, 2))
    assert len(result.earned) == len(result.choices) == 3
    assert dict(result.setting) == FAST[method]
    assert result.mean_earned == pytest.approx(sum(result.earned) / 3)


def test_a_setting_is_chosen_from_the_grid_and_test_has_no_say_in_it(sides: Sides, vectors: Vectors) -> None:
    shuffled = replace(sides, test=replace(sides.test, credit=1 - sides.test.credit))
    ridge = Contender("ridge", "ridge")
    plain, changed = compete(ridge, sides, vectors, (0,)), compete(ridge, shuffled, vectors, (0,))
    assert "alpha" in plain.setting
    assert plain.setting == changed.setting
    assert (plain.choices[0] == changed.choices[0]).all()


def test_both_sides_are_encoded_by_the_encoder_of_train(sides: Sides, vectors: Vectors) -> None:
    swapped = replace(sides, test=replace(sides.train))
    assert features_vectors(swapped).test == pytest.approx(vectors.train.vectors)
