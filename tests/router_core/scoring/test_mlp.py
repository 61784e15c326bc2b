import numpy as np
import pytest
import torch
from torch import nn

from router_core.scoring.mlp import MLP
from router_core.tensors import Tensors


def scorer(tensors: dict[str, object]) -> MLP:
    arrays = {name: np.array(value, dtype=np.float32) for name, value in tensors.items()}
    sizes = {"D": arrays["hidden.weight"].shape[1], "M": len(arrays["out.bias"])}
    return MLP(Tensors(arrays, "f", sizes), "", {})


def test_both_layers_by_hand() -> None:
    mlp = scorer(
        {
            "hidden.weight": [[1, 0], [0, -1]],
            "hidden.bias": [0.5, 1],
            "out.weight": [[1, 0], [0, 3]],
            "out.bias": [0, -1],
        }
    )
    # Hidden: max(0, 2 + 0.5) = 2.5 and max(0, -4 + 1) = 0; logits 2.5 and -1.
    quality = mlp.quality(np.array([[2, 4]], dtype=np.float32))
    assert quality[0].tolist() == pytest.approx([1 / (1 + np.exp(-2.5)), 1 / (1 + np.exp(1))], rel=1e-5)


def test_it_is_torchs_network() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4), nn.Sigmoid())
    names = ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    mlp = scorer({name: value.detach().numpy() for name, value in zip(names, layers.parameters(), strict=True)})
    queries = torch.randn(20, 6)
    np.testing.assert_allclose(mlp.quality(queries.numpy()), layers(queries).detach().numpy(), atol=1e-6)


def test_figures_are_probabilities_however_large_the_query() -> None:
    rng = np.random.default_rng(0)
    mlp = scorer(
        {
            "hidden.weight": rng.normal(size=(5, 3)),
            "hidden.bias": rng.normal(size=5),
            "out.weight": rng.normal(size=(2, 5)),
            "out.bias": rng.normal(size=2),
        }
    )
    quality = mlp.quality((1e6 * rng.normal(size=(50, 3))).astype(np.float32))
    assert MLP.gives_probabilities
    assert ((quality >= 0) & (quality <= 1)).all()
