"""The default router as the gateway serves it: trained by the very job, exported, loaded, and asked.

Its bundle calibrates the scorer's figures, so its choices may differ from those of its scorer alone.

Axis suffixes: N queries, M models.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router_core.bundle import RouterBundle, Scores
from router_core.scoring.prior_residual import PriorResidual
from router_training.evaluate.judging import encoder_of
from router_training.evaluate.routed_accuracy import Floats, Indices
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData
from router_training.routers.job import train_and_export


@dataclass(frozen=True)
class Routed:
    """What a bundle says of N queries, whom it chooses (N,), and whom its task prior alone would (N,).

    That prior sees the same vectors and has no residual, calibration or novelty score; None for a scorer without one.
    """

    scores: Scores
    choice: Indices
    prior_choice: Indices | None

    @property
    def probability(self) -> Floats:
        """Stated probability (N, M) that each model answers right."""
        return self.scores.probability.astype(np.float64)


@dataclass(frozen=True)
class Served:
    """A bundle, and how long the job that made it took, encoding included."""

    bundle: RouterBundle
    took_s: float

    @property
    def size_bytes(self) -> int:
        """Of all its files but the manifest."""
        return sum(entry.bytes for entry in self.bundle.manifest.files.values())

    def route(self, questions: Sequence[str]) -> Routed:
        """Encode and score N queries, columns in the order of the bundle's models."""
        vectors, lost_N = encoder_of(self.bundle, "cpu")(questions)
        scores = self.bundle.router.score(vectors, lost_N)
        scorer = self.bundle.router.scorer
        prior = scorer.prior.quality(vectors).argmax(axis=1) if isinstance(scorer, PriorResidual) else None
        return Routed(scores, scores.ranking()[:, 0], prior)


def train_served(data: RouterData, seed: int) -> Served:
    """Run `router-training router train` with its defaults on this data."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = RouterTrainConfig(data=("-",), out=Path(folder) / "bundle", seed=seed)
        bundle = train_and_export(config, data)
    served = Served(bundle, time.monotonic() - began)
    print(f"default: trained and exported with seed {seed} in {served.took_s:.1f} s", flush=True)
    return served
