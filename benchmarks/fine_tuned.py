"""RouterDC as its paper trains it, encoder and all, for as many steps as a small machine has time for.

The paper fine-tunes mDeBERTa-v3-base for 1000 steps on a GPU. Here MiniLM, of a tenth of its size, is fine-tuned for
the steps that are asked for, with the released code's batch of 16 and 1000 rows of each task; the checkpoint is chosen
on a tenth of train. One seed, and a random sample of test: this is a data point and no verdict on the paper.

Axis suffixes: R queries of the sample.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.contenders import Vectors
from benchmarks.sides import Sides, earned_by
from router_core.encoder_files import PACKAGED_ENCODER
from router_training.evaluate.routed_accuracy import Floats, Indices
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import split_rows
from router_training.routers.encoding import load_sentence_encoder
from router_training.routers.fitting import Split, fit_routerdc, scorer_tensors
from router_training.routers.job import fit_data_of
from router_training.routers.methods.base import Fitted, quality_of
from router_training.routers.methods.routerdc import clusters_of
from router_training.routers.vectors import TrainedVectors

BATCH = 16
SAMPLES_PER_TASK = 1000
SAMPLED_PER_TASK = 400
"""Of the test queries: embedding all of them would take longer than the training."""


@dataclass(frozen=True)
class FineTuned:
    """The test rows that were asked (R,), the credit on them (R,), the chosen checkpoint, and what it took."""

    rows: Indices
    earned: Floats
    steps: int
    checkpoint: int
    trained_s: float
    embedded_s: float


def fine_tune(
    sides: Sides,
    frozen: Vectors,
    *,
    steps: int,
    seed: int,
    max_tokens: int,
    encoder_name: str = PACKAGED_ENCODER,
) -> FineTuned:
    """Train for `steps` steps, then embed and route a sample of test. `frozen`: vectors that k-means clusters."""
    began = time.monotonic()
    config = RouterTrainConfig(
        data=("-",),
        out=Path("-"),
        method="routerdc",
        encoder=encoder_name,
        max_tokens=max_tokens,
        train_encoder=True,
        steps=steps,
        batch_size=BATCH,
        samples_per_task=SAMPLES_PER_TASK,
        evaluate_every=max(1, steps // 2),
        seed=seed,
    )
    encoder = load_sentence_encoder(config)
    vectors = TrainedVectors(encoder, sides.train.questions)
    split = Split(*split_rows(sides.train, validation_fraction=config.validation_fraction, seed=seed))
    clusters_N = clusters_of(config, fit_data_of(config, sides.train, frozen.train), split.train)

    def report(step: int, loss: float, accuracy: float | None) -> None:
        if accuracy is not None or step % 25 == 0:
            looked = "" if accuracy is None else f", accuracy on validation {100 * accuracy:.2f}"
            print(f"fine-tuning: step {step} of {steps}, loss {loss:.3f}{looked}", flush=True)

    found = fit_routerdc(sides.train, split, vectors, clusters_N, config, report)
    trained_s = time.monotonic() - began
    rows = sample(sides, seed)
    vectors_R_D = encoder.embed([sides.test.questions[row] for row in rows])
    figures = quality_of(Fitted("routerdc", scorer_tensors(found.router)), vectors_R_D, len(sides.test.models))
    return FineTuned(
        rows=rows,
        earned=earned_by(figures.argmax(axis=1), sides.test.credit[rows]),
        steps=steps,
        checkpoint=found.step,
        trained_s=trained_s,
        embedded_s=time.monotonic() - began - trained_s,
    )


def sample(sides: Sides, seed: int) -> Indices:
    """Test rows (R,): at most SAMPLED_PER_TASK of each task, in the order of the tasks."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(sides.rows(task))[:SAMPLED_PER_TASK] for task in sides.tasks])
