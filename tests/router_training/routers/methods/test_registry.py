"""What holds for every method: its defaults, its grid, its repeatability, its own scorer."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from router_core.scoring.registry import SCORERS, build_scorer
from router_core.tensors import Tensors
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.registry import METHODS, Method, method_named

RNG = np.random.default_rng(0)
N, M, D = 60, 3, 5
WINNER = np.arange(N) % M
VECTORS = (3 * np.eye(M, D)[WINNER] + RNG.normal(size=(N, D))).astype(np.float32)
CREDIT = np.eye(M)[WINNER]
DATA = FitData(VECTORS, CREDIT, CREDIT, tuple(f"task {winner}" for winner in WINNER))


def quick(method: Method) -> dict[str, object]:
    """The first setting of the grid, made to fit so few queries."""
    changes = {"routerdc": {"steps": 100, "evaluate_every": 20, "validation_fraction": 0.3}, "knn": {"k": 5}}
    return {**method.grid[0], **changes.get(method.name, {})}


def test_methods_and_scorers_have_the_same_names() -> None:
    assert set(METHODS) == set(SCORERS)


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_gives_the_scorer_of_its_name_all_its_tensors_and_nothing_else(name: str) -> None:
    method = method_named(name)
    fitted = method.fit(DATA, **quick(method))
    assert fitted.name == name
    assert all(tensor.dtype == np.float32 for tensor in fitted.tensors.values())
    routed = quality_of(fitted, VECTORS, M).argmax(axis=1)
    assert CREDIT[np.arange(N), routed].mean() > 0.8
    tensors = Tensors(fitted.tensors, "f", {"D": D, "M": M})
    build_scorer(name, tensors, "", fitted.options)
    tensors.refuse_rest()


@pytest.mark.parametrize("name", METHODS)
def test_the_same_data_and_seed_give_the_same_tensors(name: str) -> None:
    method = method_named(name)
    first, again = (method.fit(DATA, **quick(method)).tensors for _ in range(2))
    assert all((first[key] == again[key]).all() for key in first)


@pytest.mark.parametrize("name", METHODS)
def test_the_default_is_a_setting_of_the_grid_and_none_comes_twice(name: str) -> None:
    method = method_named(name)
    defaults = {key: value.default for key, value in inspect.signature(method.fit).parameters.items()}
    assert any({key: defaults.get(key) for key in setting} == dict(setting) for setting in method.grid)
    assert len({str(sorted(setting.items())) for setting in method.grid}) == len(method.grid)


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_looks_at_no_more_than_it_says(name: str) -> None:
    """Figures that the method does not learn from change nothing."""
    method = method_named(name)
    changed = FitData(
        VECTORS,
        CREDIT,
        CREDIT if name == "routerdc" else RNG.uniform(size=(N, M)),
        DATA.tasks,
        table_clusters=RNG.integers(0, 9, N),
    )
    first, again = (method.fit(one, **quick(method)).tensors for one in (DATA, changed))
    assert all((first[key] == again[key]).all() for key in first)


def test_an_unknown_method_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        method_named("oracle")


def test_listing_the_names_imports_no_method() -> None:
    code = (
        "import sys; from router_training.routers.methods.registry import METHODS; "
        "print([home for home in METHODS.values() if home in sys.modules], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
