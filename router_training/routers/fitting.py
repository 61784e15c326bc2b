"""The training loop of RouterDC: AdamW on both losses, the checkpoint chosen on held-out queries.

Promises: the same data, vectors, settings and seed give the same weights on one machine and thread count; a loss that
is not finite stops the run instead of being trained on.

Axis suffixes: N all queries, B queries of a batch, M models.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from router_core.scoring.base import FloatArray
from router_training.errors import JobConfigError, TrainingError
from router_training.routers.clusters import IntArray
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import Indices, RouterData, resample_per_task
from router_training.routers.routerdc import RouterDC, draw_partners, sample_llm_loss, sample_sample_loss
from router_training.routers.vectors import QueryVectors

DEFAULT_K = 3
EVALUATION_BATCH = 256
Report = Callable[[int, float, float | None], None]


@dataclass(frozen=True)
class Split:
    """Rows of the data that are trained on, and those that choose the checkpoint."""

    train: Indices
    validation: Indices


@dataclass(frozen=True)
class FittedRouter:
    """The router at its best checkpoint. `checkpoint_accuracy` is the figure that chose it."""

    router: RouterDC
    step: int
    checkpoint_accuracy: float
    k_positive: int
    k_negative: int


def fit_routerdc(
    data: RouterData,
    split: Split,
    vectors: QueryVectors,
    clusters_N: IntArray,
    config: RouterTrainConfig,
    report: Report = lambda step, loss, accuracy: None,
) -> FittedRouter:
    """Train. `report` is told each step's loss and, where it was measured, the accuracy. Raises TrainingError.

    Leaves `vectors` at the best checkpoint too.
    """
    k_positive, k_negative = contrast_sizes(config, len(data.models))
    with torch.random.fork_rng(devices=[]):
        # Weight initialisation and dropout draw from torch's global generator; the fork leaves the caller's alone.
        torch.manual_seed(config.seed)
        trainer = _Trainer(data, vectors, clusters_N, config, k_positive, k_negative)
        judged = split.train if config.released_code_faults else split.validation
        best: tuple[float, int, Any] = (-1.0, 0, None)
        batches = _batches(resample_per_task(data, split.train, config.samples_per_task), config)
        for step, rows in zip(range(1, config.steps + 1), batches, strict=False):
            loss = trainer.step(rows)
            if not np.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {step}; lower learning_rate ({config.step_size})")
            accuracy = None
            if step % config.evaluate_every == 0 or step == config.steps:
                accuracy = routed_accuracy_by_task(data, judged, similarities_of(trainer.router, vectors, judged))
                if accuracy > best[0]:
                    best = (accuracy, step, trainer.state())
            report(step, loss, accuracy)
    trainer.restore(best[2])
    return FittedRouter(trainer.router, best[1], best[0], k_positive, k_negative)


def contrast_sizes(config: RouterTrainConfig, models: int) -> tuple[int, int]:
    """K+ and K-, given or by default. Raises JobConfigError if an LLM could be both."""
    default = min(DEFAULT_K, models // 2)
    if default == 0:
        raise JobConfigError(f"data: the tables score {models} model; a router needs at least two")
    k_positive, k_negative = config.k_positive or default, config.k_negative or default
    if k_positive + k_negative > models:
        raise JobConfigError(
            f"k_positive + k_negative is {k_positive} + {k_negative}, but the tables score only {models} models"
        )
    return k_positive, k_negative


def scorer_tensors(router: RouterDC) -> dict[str, FloatArray]:
    """The trained weights under the names that the `routerdc` scorer takes (router_core/scoring/routerdc.py)."""
    return {
        name.replace("head.", "projection."): value.detach().cpu().numpy().astype(np.float32)
        for name, value in router.state_dict().items()
    }


def similarities_of(router: RouterDC, vectors: QueryVectors, rows: Indices) -> npt.NDArray[np.float32]:
    """Cosines of the given rows with each LLM, (rows, M), without gradient or dropout."""
    vectors.train(False)
    with torch.no_grad():
        parts = [
            router(vectors.of_rows(rows[start : start + EVALUATION_BATCH]))[1].cpu().numpy()
            for start in range(0, len(rows), EVALUATION_BATCH)
        ]
    similarities: npt.NDArray[np.float32] = np.concatenate(parts)
    return similarities


def routed_accuracy_by_task(data: RouterData, rows: Indices, similarities: npt.NDArray[np.float32]) -> float:
    """Credit earned by the best-scored LLM, averaged within each task and then over the tasks."""
    earned = dict(zip(rows.tolist(), data.credit[rows, similarities.argmax(axis=1)].tolist(), strict=True))
    return float(np.mean([np.mean([earned[row] for row in part]) for part in data.rows_of_tasks(rows).values()]))


class _Trainer:
    """One router under training: the model, its optimiser and its seeded draws."""

    def __init__(
        self,
        data: RouterData,
        vectors: QueryVectors,
        clusters_N: IntArray,
        config: RouterTrainConfig,
        k_positive: int,
        k_negative: int,
    ) -> None:
        self._config, self._vectors = config, vectors
        self._k_positive, self._k_negative = k_positive, k_negative
        dimensions = vectors.of_rows(np.array([0])).shape[1]
        self.router = RouterDC(dimensions=dimensions, models=len(data.models), width=config.head_width)
        self.router.to(config.device)
        labels = data.credit if config.labels == "credit" else data.scores
        self._labels_N_M = torch.from_numpy(labels.astype(np.float32))
        self._clusters_N = torch.from_numpy(clusters_N)
        self._generator = torch.Generator().manual_seed(config.seed)
        self._optimiser = torch.optim.AdamW(
            itertools.chain(self.router.parameters(), vectors.parameters()),
            lr=config.step_size,
            weight_decay=config.weight_decay,
        )

    def step(self, rows: Indices) -> float:
        """One update; the loss before it."""
        config, batch = self._config, torch.from_numpy(rows)
        self._vectors.train(True)
        query_B_P, similarities_B_M = self.router(self._vectors.of_rows(rows))
        loss = sample_llm_loss(
            similarities_B_M,
            self._labels_N_M[batch].to(config.device),
            k_positive=self._k_positive,
            k_negative=self._k_negative,
            temperature=config.temperature,
            generator=None if config.released_code_faults else self._generator,
        )
        if config.cluster_weight > 0:
            positive_B, negatives_B_H = draw_partners(
                self._clusters_N[batch],
                cluster_negatives=config.cluster_negatives,
                generator=self._generator,
                include_self=config.released_code_faults,
            )
            loss = loss + config.cluster_weight * sample_sample_loss(
                query_B_P,
                positive_B.to(config.device),
                negatives_B_H.to(config.device),
                temperature=config.temperature,
            )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """A copy of every trained weight."""
        router = {name: value.detach().clone() for name, value in self.router.state_dict().items()}
        return router, self._vectors.state()

    def restore(self, state: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
        """Go back to a copy."""
        self.router.load_state_dict(state[0])
        self._vectors.restore(state[1])
        self._vectors.train(False)


def _batches(rows: Indices, config: RouterTrainConfig) -> Iterator[Indices]:
    """Endless passes over the rows, each in a new order; the remainder of a pass starts the next batch."""
    rng = np.random.default_rng(config.seed)
    queue = np.empty(0, dtype=np.intp)
    while True:
        while len(queue) < config.batch_size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[: config.batch_size]
        queue = queue[config.batch_size :]
