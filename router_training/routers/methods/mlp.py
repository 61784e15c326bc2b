"""Trains the `mlp` scorer: one hidden layer, binary cross entropy for each model by itself.

    minimise over the layers:  sum over n of w[n] * sum over m of BCE(P(m right | x[n]), credit[n, m])

with task-balanced weights w, standardised vectors, AdamW, a learning rate that falls in a straight line to 0, and as
many passes over the queries as `epochs` says. A credit between 0 and 1 (the share of right samples) is its own target.
"""

import numpy as np
import torch
from pydantic import JsonValue
from torch import nn
from torch.nn import functional

from router_training.errors import TrainingError
from router_training.routers.methods.base import FitData, Fitted, Floats, Setting
from router_training.routers.methods.residuals import refuse_residuals
from router_training.routers.methods.standardising import Standardising
from router_training.routers.one_thread import one_thread

GRID: tuple[Setting, ...] = (
    {"hidden": 256, "epochs": 5, "weight_decay": 3.0},
    {"hidden": 256, "epochs": 5, "weight_decay": 0.1},
    {"hidden": 256, "epochs": 10, "weight_decay": 1.0},
    {"hidden": 64, "epochs": 10, "weight_decay": 1.0},
)
BATCH = 128


def fit(
    data: FitData,
    *,
    hidden: int = 256,
    epochs: int = 5,
    weight_decay: float = 3.0,
    learning_rate: float = 3e-3,
) -> Fitted:
    """Fit; `hidden` units. Raises DataError for credits beyond 0..1, TrainingError for a loss that is not finite."""
    refuse_residuals(data, "mlp")
    standardising = Standardising.of(data)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            data.seed
        )  # the first weights and the order of the queries; the fork leaves the caller's alone
        layers = _train(data, standardising.apply(data.vectors), hidden, epochs, weight_decay, learning_rate)
    weight, bias, out_weight, out_bias = (value.detach().numpy().astype(np.float64) for value in layers.parameters())
    hidden_weight, hidden_bias = standardising.fold(weight, bias)
    tensors = {
        "hidden.weight": hidden_weight,
        "hidden.bias": hidden_bias,
        "out.weight": out_weight.astype(np.float32),
        "out.bias": out_bias.astype(np.float32),
    }
    settings: dict[str, JsonValue] = {
        "hidden": hidden,
        "epochs": epochs,
        "weight_decay": weight_decay,
        "learning_rate": learning_rate,
    }
    return Fitted("mlp", tensors, settings=settings)


def _train(
    data: FitData, z_N_D: Floats, hidden: int, epochs: int, weight_decay: float, learning_rate: float
) -> nn.Sequential:
    inputs_N_D = torch.from_numpy(z_N_D.astype(np.float32))
    credit_N_M = torch.from_numpy(data.credit.astype(np.float32))
    weights_N_1 = torch.from_numpy(data.weights.astype(np.float32)).unsqueeze(1)
    layers = nn.Sequential(nn.Linear(z_N_D.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, credit_N_M.shape[1]))
    optimiser = torch.optim.AdamW(layers.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - step / steps)
    for _ in range(epochs):
        order_N = torch.randperm(len(data))
        for start in range(0, len(data), BATCH):
            rows = order_N[start : start + BATCH]
            loss = functional.binary_cross_entropy_with_logits(
                layers(inputs_N_D[rows]), credit_N_M[rows], weight=weights_N_1[rows]
            )
            if not torch.isfinite(loss):
                raise TrainingError(f"mlp: the loss is {float(loss.detach())}; lower learning_rate ({learning_rate})")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return layers
