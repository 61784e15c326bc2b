import numpy as np
import pytest
import torch
from torch.nn import functional

from router_training.errors import DataError, TrainingError
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.cosine_classifier import fit

RNG = np.random.default_rng(0)
N, M, D = 60, 3, 5
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
CREDIT = np.round(RNG.uniform(size=(N, M)) * (RNG.uniform(size=(N, M)) < 0.5), 1)
TASKS = ("a",) * 45 + ("b",) * 15
DATA = FitData(VECTORS, CREDIT, np.zeros_like(CREDIT), TASKS)


def loss_in_torch(weight: torch.Tensor, data: FitData, temperature: float) -> torch.Tensor:
    """The loss of the module's head, one query and one model at a time."""
    total, mass = torch.zeros((), dtype=torch.float64), 0.0
    for vector, credit, share in zip(torch.from_numpy(data.vectors).double(), data.credit, data.weights, strict=True):
        if credit.sum() == 0:
            continue
        logits = functional.cosine_similarity(vector.unsqueeze(0), weight, dim=1) / temperature
        log_shares = functional.log_softmax(logits, dim=0)
        total = total - share * sum(credit[m] / credit.sum() * log_shares[m] for m in range(len(credit)))
        mass += share
    return total / mass


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_torchs_own_minimum_is_no_lower(temperature: float) -> None:
    fitted = torch.from_numpy(fit(DATA, temperature=temperature).tensors["weight"]).double()
    found = float(loss_in_torch(fitted, DATA, temperature))
    torch.manual_seed(0)
    weight = torch.randn(M, D, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = loss_in_torch(weight, DATA, temperature)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert found == pytest.approx(float(loss_in_torch(weight, DATA, temperature).detach()), abs=1e-3)


def test_each_direction_gets_the_model_that_is_right_there() -> None:
    vectors = np.repeat(np.array([[1, 0], [-1, 0.2], [0, -1]], np.float32), 5, axis=0)
    credit = np.repeat(np.eye(3), 5, axis=0)
    fitted = fit(FitData(vectors, credit, credit, ("t",) * 15), temperature=0.1)
    assert quality_of(fitted, 7 * vectors, 3).argmax(axis=1).tolist() == np.repeat([0, 1, 2], 5).tolist()


def test_models_that_are_right_together_share_the_query() -> None:
    vectors = np.tile(np.array([[1, 0]], np.float32), (6, 1))
    credit = np.tile([[1.0, 1.0, 0.0]], (6, 1))
    shares = np.exp(quality_of(fit(FitData(vectors, credit, credit, ("t",) * 6), temperature=0.1), vectors, 3))
    assert shares[0].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-3)


def test_queries_that_no_model_answers_teach_nothing() -> None:
    rows = CREDIT.sum(axis=1) > 0
    one = FitData(VECTORS, CREDIT, CREDIT, ("t",) * N)
    without = fit(one.rows(np.flatnonzero(rows)))
    assert not rows.all()
    np.testing.assert_allclose(fit(one).tensors["weight"], without.tensors["weight"], atol=1e-5)


def test_a_model_that_is_always_or_never_right_is_no_error() -> None:
    credit = np.tile([[1.0, 0.0]], (N, 1))
    quality = quality_of(fit(FitData(VECTORS, credit, credit, TASKS)), VECTORS, 2)
    assert np.isfinite(quality).all()
    assert quality.mean(axis=0).argmax() == 0


def test_nothing_to_learn_is_an_error() -> None:
    none = np.zeros((N, M))
    with pytest.raises(TrainingError, match=r"^cosine_classifier: no model is right on any training query"):
        fit(FitData(VECTORS, none, none, TASKS))


def test_residuals_are_refused() -> None:
    with pytest.raises(DataError, match=r"^cosine_classifier: credits run from -0.5 to 0.5, .* learn ridge, knn"):
        fit(FitData(VECTORS, np.tile([[-0.5, 0.5]], (N, 1)), CREDIT, TASKS))
