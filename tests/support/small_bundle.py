"""A valid router bundle of a few kilobytes with known behaviour, made in milliseconds: `features` and `prior_residual`.

What it does with a text of up to about 80 bytes:

    has a digit     task "digits": models[0] is best (0.9), models[1] worse (0.2), any further model 0.1
    has none        task "words":  models[1] is best (0.8), models[0] worse (0.3), any further model 0.1
    mostly Chinese  novelty 1: every probability is the model's base rate, the mean of its two figures
    has a "!"       only with `swaps_on_exclamation`: the residual takes 0.9 from models[0] and adds 0.9 to models[1]

so ("llm-a", "llm-b") routes "2 + 2 = ?" to llm-a and "What is love?" to llm-b.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from router_core.bundle import (
    AbstentionSpec,
    CalibrationSpec,
    DataEntry,
    FeaturesSpec,
    RouterBundle,
    ScorerSpec,
    question_hash,
    save_bundle,
)
from router_core.features import SURFACE_DIMENSIONS
from router_core.scoring.calibration import CalibrationMethod

BUCKETS = 256
DIMENSIONS = 1 + SURFACE_DIMENSIONS
_DIGITS, _EXCLAMATION, _WIDE_SCRIPT = 1 + 0, 1 + 7, 1 + 18  # places of features.py's byte classes, after one direction
_STEEPNESS = 100.0


def small_bundle(
    path: Path,
    *,
    models: Sequence[str] = ("llm-a", "llm-b"),
    accuracy: npt.ArrayLike | None = None,
    calibration: CalibrationMethod = "none",
    pending: Sequence[str] = (),
    abstention: AbstentionSpec | None = None,
    training_questions: Sequence[str] = (),
    swaps_on_exclamation: bool = False,
    max_bytes: int = 1024,
    data: Sequence[DataEntry] = (),
    training: Mapping[str, JsonValue] | None = None,
    evaluation: Mapping[str, JsonValue] | None = None,
) -> RouterBundle:
    """Write the bundle to `path` and load it.

    `accuracy` (2, M), rows digits and words, replaces the figures above. Any `calibration` leaves figures within
    0.0001..0.9999 as they are. `training_questions` become the bundle's question hashes; without them it has none.
    """
    accuracy_T_M = _accuracy(len(models)) if accuracy is None else np.asarray(accuracy, dtype=np.float32)
    tensors: dict[str, npt.NDArray[np.generic]] = {
        **_encoder(),
        **_split_by(_DIGITS, "scorer.prior."),
        "scorer.prior.accuracy": accuracy_T_M,
        **_novelty(accuracy_T_M.mean(axis=0)),
        **_identity(calibration, len(models)),
    }
    if swaps_on_exclamation:
        swap_T_M = np.zeros((2, len(models)), dtype=np.float32)
        swap_T_M[0, :2] = -0.9, 0.9
        tensors |= _split_by(_EXCLAMATION, "scorer.residual.")
        tensors |= {"scorer.residual.accuracy": swap_T_M, "scorer.strength": np.ones(1, dtype=np.float32)}
    if training_questions:
        hashes = sorted({question_hash(question) for question in training_questions})
        tensors["training.question_hashes"] = np.array(hashes, dtype=np.uint64)
    return save_bundle(
        path,
        models=models,
        encoder=FeaturesSpec(dimensions=DIMENSIONS, buckets=BUCKETS, ngrams=(2, 3), max_bytes=max_bytes),
        scorer=ScorerSpec(name="prior_residual", options={"residual": "task_prior" if swaps_on_exclamation else None}),
        tensors=tensors,
        calibration=CalibrationSpec(method=calibration, pending=tuple(pending)),
        abstention=abstention,
        data=data,
        training=training,
        evaluation=evaluation,
    )


def _accuracy(models: int) -> npt.NDArray[np.float32]:
    accuracy_T_M = np.full((2, models), 0.1, dtype=np.float32)
    accuracy_T_M[0, :2] = (0.9, 0.2)[:models]
    accuracy_T_M[1, :2] = (0.3, 0.8)[:models]
    return accuracy_T_M


def _encoder() -> dict[str, npt.NDArray[np.float32]]:
    """The surface features as they are; the one n-gram direction says nothing."""
    return {
        "encoder.projection": np.zeros((BUCKETS, 1), dtype=np.float32),
        "encoder.idf": np.ones(BUCKETS, dtype=np.float32),
        "encoder.mean": np.zeros(DIMENSIONS, dtype=np.float32),
        "encoder.scale": np.ones(DIMENSIONS, dtype=np.float32),
    }


def _split_by(feature: int, prefix: str) -> dict[str, npt.NDArray[np.float32]]:
    """Two tasks, almost never in doubt: the first where the feature (root of a share of bytes) is above 0.1."""
    weight_T_D = np.zeros((2, DIMENSIONS), dtype=np.float32)
    weight_T_D[0, feature] = _STEEPNESS
    bias_T = np.array([-0.1 * _STEEPNESS, 0.0], dtype=np.float32)
    return {f"{prefix}weight": weight_T_D, f"{prefix}bias": bias_T}


def _novelty(base_rates_M: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    scale_D = np.zeros(DIMENSIONS, dtype=np.float32)
    scale_D[_WIDE_SCRIPT] = np.sqrt(DIMENSIONS)
    return {
        "novelty.centroids": np.zeros((1, DIMENSIONS), dtype=np.float32),
        "novelty.scale": scale_D,
        "novelty.bounds": np.array([0.1, 0.4], dtype=np.float32),
        "novelty.base_rates": base_rates_M.astype(np.float32),
    }


def _identity(method: CalibrationMethod, models: int) -> dict[str, npt.NDArray[np.float32]]:
    if method == "temperature":
        return {
            "calibration.slope": np.ones(models, dtype=np.float32),
            "calibration.bias": np.zeros(models, dtype=np.float32),
        }
    if method == "isotonic":
        y_K = np.linspace(1e-4, 1 - 1e-4, 2001)
        return {
            "calibration.x": np.tile(np.log(y_K / (1 - y_K)), (models, 1)).astype(np.float32),
            "calibration.y": np.tile(y_K, (models, 1)).astype(np.float32),
        }
    return {}
