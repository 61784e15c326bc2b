"""What holds for every scorer: built by name, over its own tensors, each of them checked."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from router_core.errors import BundleError
from router_core.scoring.registry import SCORERS, build_scorer
from router_core.tensors import AnyArray, Tensors

D, M = 4, 3
RNG = np.random.default_rng(0)


def figures(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def one(value: float) -> npt.NDArray[np.float32]:
    return np.array([value], dtype=np.float32)


TASK_PRIOR = {"weight": figures(2, D), "bias": figures(2), "accuracy": figures(2, M) ** 2}
VALID: dict[str, dict[str, AnyArray]] = {
    "task_prior": TASK_PRIOR,
    "prior_residual": {f"prior.{name}": tensor for name, tensor in TASK_PRIOR.items()},
    "routerdc": {
        "llm_embeddings": figures(M, 5),
        "projection.weight": figures(5, D),
        "projection.bias": figures(5),
    },
    "knn": {"neighbours": figures(6, D), "credit": figures(6, M) ** 2, "k": one(2), "sharpness": one(1)},
    "cosine_classifier": {"weight": figures(M, D), "temperature": one(0.5)},
    "mlp": {
        "hidden.weight": figures(5, D),
        "hidden.bias": figures(5),
        "out.weight": figures(M, 5),
        "out.bias": figures(M),
    },
    "clusters": {"centroids": figures(5, D), "credit": figures(5, M) ** 2},
    "ridge": {"weight": figures(M, D), "bias": figures(M)},
}
OPTIONAL_PAIR = {"projection.weight", "projection.bias"}


def tensors_of(name: str, prefix: str = "s.", **changes: AnyArray) -> Tensors:
    named = {f"{prefix}{key}": tensor for key, tensor in (VALID[name] | changes).items()}
    return Tensors(named, "f", {"D": D, "M": M})


def every_tensor() -> list[tuple[str, str]]:
    return [(name, tensor) for name, tensors in VALID.items() for tensor in tensors]


def test_the_valid_cases_are_all_scorers() -> None:
    assert VALID.keys() == SCORERS.keys()


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_takes_all_its_tensors_and_scores(name: str) -> None:
    tensors = tensors_of(name)
    scorer = build_scorer(name, tensors, "s.", {})
    tensors.refuse_rest()
    vectors = figures(7, D)
    quality = scorer.quality(vectors)
    assert quality.shape == (7, M)
    assert quality.dtype == np.float32
    np.testing.assert_allclose(scorer.quality(vectors[3:4]), quality[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SCORERS)
def test_scoring_changes_neither_the_query_nor_the_next_answer(name: str) -> None:
    scorer = build_scorer(name, tensors_of(name), "s.", {})
    vectors = figures(7, D)
    before = vectors.copy()
    first = scorer.quality(vectors).copy()
    assert (vectors == before).all()
    assert (scorer.quality(vectors) == first).all()


@pytest.mark.parametrize(("name", "tensor"), every_tensor())
def test_a_missing_tensor_is_refused(name: str, tensor: str) -> None:
    named = {f"s.{key}": value for key, value in VALID[name].items() if key != tensor}
    expected = "come together; one is missing" if tensor in OPTIONAL_PAIR else f"tensor 's.{tensor}' is missing"
    with pytest.raises(BundleError, match=f"^f: .*{expected}$"):
        build_scorer(name, Tensors(named, "f", {"D": D, "M": M}), "s.", {})


@pytest.mark.parametrize(("name", "tensor"), every_tensor())
def test_a_tensor_that_is_not_finite_is_refused(name: str, tensor: str) -> None:
    broken = VALID[name][tensor].copy()
    broken.flat[-1] = np.nan
    with pytest.raises(BundleError, match=f"^f: s.{tensor}: holds NaN or infinity$"):
        build_scorer(name, tensors_of(name, **{tensor: broken}), "s.", {})


@pytest.mark.parametrize(("name", "tensor"), every_tensor())
def test_a_tensor_of_another_width_is_refused(name: str, tensor: str) -> None:
    longer = np.concatenate([VALID[name][tensor]] * 2, axis=-1)
    with pytest.raises(BundleError, match=r"^f: s\..*: shape is .*, expected"):
        build_scorer(name, tensors_of(name, **{tensor: longer}), "s.", {})


@pytest.mark.parametrize("name", ["knn", "clusters", "mlp", "task_prior", "routerdc"])
def test_two_scorers_of_one_kind_need_not_agree_on_sizes(name: str) -> None:
    """So that a scorer can stand inside another."""
    first, second = tensors_of(name, "a."), {}
    for key, tensor in VALID[name].items():
        grown = tensor
        for axis, size in enumerate(tensor.shape):
            if size not in (D, M, 1):
                grown = np.repeat(grown, 2, axis=axis)
        second[f"b.{key}"] = grown
    named = {f"a.{key}": tensor for key, tensor in VALID[name].items()} | second
    tensors = Tensors(named, "f", {"D": D, "M": M})
    alone = build_scorer(name, first, "a.", {})
    together = build_scorer(name, tensors, "a.", {})
    build_scorer(name, tensors, "b.", {})
    tensors.refuse_rest()
    vectors = figures(3, D)
    assert (alone.quality(vectors) == together.quality(vectors)).all()


def test_an_unknown_scorer_is_refused() -> None:
    with pytest.raises(BundleError, match=r"^f: scorer .oracle. is not known here; known: clusters, cosine_classifier"):
        build_scorer("oracle", Tensors({}, "f", {"D": D, "M": M}), "s.", {})


def test_listing_the_names_imports_no_scorer() -> None:
    code = (
        "import sys; from router_core.scoring.registry import SCORERS; "
        "print([m for m in sys.modules if m.rpartition('.')[2] in SCORERS])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
