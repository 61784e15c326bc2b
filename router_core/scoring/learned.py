"""Everything a bundle knows about a query: its scorer's figures, calibrated, and how far they are to be believed.

    quality      the scorer's own figures
    probability  (1 - novelty) * calibrated probability + novelty * base rate
    ranking      models by utility = probability - lambda * cost, best first; not yet calibrated ones last

The base rate is one for all models, their mean: on a query like none that the router was trained on the models draw
together, so that the gain of one over another counts for less against cost, sessions and abstention, yet their order
stays the scorer's. (Drawing each model to a base rate of its own reorders them, and lost on tasks left out of train.)

Promise: pure numpy, safe to call from many threads. Axis suffixes: B queries, D encoder dimensions, M models.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router_core.errors import BundleError
from router_core.manifest import BundleManifest
from router_core.scoring.base import FloatArray
from router_core.scoring.calibration import Calibration
from router_core.scoring.novelty import Novelty
from router_core.scoring.registry import build_scorer
from router_core.tensors import Tensors

SCORER, CALIBRATION, NOVELTY = "scorer.", "calibration.", "novelty."


@dataclass(frozen=True)
class Scores:
    """What is known of B queries and the bundle's M models, in the bundle's order.

    `quality` (B, M) in the scorer's own scale; `probability` (B, M) that the model answers right; `novelty` (B,) from
    0 to below 1; `is_calibrated` (M,) False for a model that was added and has too few probes.
    """

    quality: FloatArray
    probability: FloatArray
    novelty: FloatArray
    is_calibrated: npt.NDArray[np.bool_]

    def ranking(self, penalty_M: FloatArray | None = None) -> npt.NDArray[np.intp]:
        """(B, M): for each query the indices of ALL models, best first; ties keep the bundle's order.

        `penalty_M` is lambda * cost of each model, subtracted from the probability.
        """
        utility = self.probability if penalty_M is None else self.probability - penalty_M
        if not self.is_calibrated.all():
            utility = utility - np.float32(1e3) * ~self.is_calibrated
        return (-utility).argsort(axis=1, kind="stable")


class LearnedRouter:
    """The scorer, the calibration and the novelty score that a manifest names, over the bundle's tensors."""

    def __init__(self, manifest: BundleManifest, tensors: Tensors) -> None:
        self.models = manifest.models
        self._dimensions = manifest.encoder.dimensions
        self.scorer = build_scorer(manifest.scorer.name, tensors, SCORER, manifest.scorer.options)
        self._calibration = Calibration(
            manifest.calibration.method, tensors, CALIBRATION, from_probabilities=self.scorer.gives_probabilities
        )
        self._novelty = Novelty(tensors, NOVELTY)
        self._is_calibrated = np.array([name not in manifest.calibration.pending for name in manifest.models])

    def score(self, vectors_B_D: FloatArray, lost_B: FloatArray | None = None) -> Scores:
        """Score B query vectors, float32 (B, D); `lost_B` is the share of each text that was cut off (default none).

        Raises BundleError if the vectors do not fit the bundle.
        """
        if vectors_B_D.ndim != 2 or vectors_B_D.shape[1] != self._dimensions:
            raise BundleError(
                f"the bundle scores vectors of shape (queries, {self._dimensions}), "
                f"the encoder gave {vectors_B_D.shape}: it is not the encoder that the bundle was trained with"
            )
        vectors_B_D = vectors_B_D.astype(np.float32, copy=False)
        quality_B_M = self.scorer.quality(vectors_B_D)
        novelty_B = self._novelty.novelty(
            vectors_B_D, np.zeros(len(vectors_B_D), np.float32) if lost_B is None else lost_B
        )
        calibrated_B_M = self._calibration.probabilities(quality_B_M)
        share = novelty_B[:, None]
        probability_B_M = calibrated_B_M + share * (self._novelty.base_rate - calibrated_B_M)
        # One product tells of both: what is not finite in either, even times zero, is not finite in the sum.
        if not math.isfinite(np.vdot(quality_B_M, probability_B_M)):
            if not np.isfinite(vectors_B_D).all():
                raise BundleError("the encoder gave a vector that holds NaN or infinity")
            raise BundleError("the bundle's weights are so large that its scores overflow: train it again")
        return Scores(quality_B_M, probability_B_M, novelty_B, self._is_calibrated)
