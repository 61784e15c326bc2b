"""A router bundle of the default's shape with random figures: it costs what a trained one costs, and routes anyhow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from router_core.bundle import AbstentionSpec, CalibrationSpec, FeaturesSpec, RouterBundle, ScorerSpec, save_bundle
from router_core.features import SURFACE_DIMENSIONS

TASKS, DIRECTIONS, BUCKETS = 5, 64, 8192


def sample_bundle(path: Path, models: Sequence[str]) -> RouterBundle:
    """Write the bundle to `path` and load it; the same figures every time."""
    random = np.random.default_rng(0)
    dimensions = DIRECTIONS + SURFACE_DIMENSIONS

    def drawn(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    accuracy_T_M = random.uniform(0.2, 0.9, (TASKS, len(models))).astype(np.float32)
    tensors = {
        "encoder.projection": drawn(BUCKETS, DIRECTIONS),
        "encoder.idf": np.ones(BUCKETS, dtype=np.float32),
        "encoder.mean": drawn(dimensions),
        "encoder.scale": np.ones(dimensions, dtype=np.float32),
        "scorer.prior.weight": drawn(TASKS, dimensions),
        "scorer.prior.bias": drawn(TASKS),
        "scorer.prior.accuracy": accuracy_T_M,
        "novelty.centroids": drawn(TASKS, dimensions),
        "novelty.scale": np.ones(dimensions, dtype=np.float32),
        "novelty.bounds": np.array([0.1, 0.4], dtype=np.float32),
        "novelty.base_rates": accuracy_T_M.mean(axis=0),
    }
    return save_bundle(
        path,
        models=models,
        encoder=FeaturesSpec(dimensions=dimensions, buckets=BUCKETS, ngrams=(2, 3, 4, 5), max_bytes=1024),
        scorer=ScorerSpec(name="prior_residual", options={"residual": None}),
        tensors=tensors,
        calibration=CalibrationSpec(method="none"),
        abstention=AbstentionSpec(
            max_regret=0.01, thresholds=dict.fromkeys(models, 0.0), coverage=dict.fromkeys(models, 1.0)
        ),
    )
