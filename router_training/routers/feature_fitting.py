"""Fit the `features` encoder (router_core/features.py) on training questions: idf, SVD directions, standardisation.

Unsupervised: no score is looked at, so the vectors may be shared by all folds of a cross-validation. The directions are
those of a truncated SVD of the weighted n-gram counts (latent semantic analysis: Deerwester et al., 1990). Weights let
every task have its share of the directions, however few rows it has. Directions keep the geometry of the unit vectors
they come from, so that a query with little in common with training stays near the origin, where a linear classifier is
unsure; standardising them would make it sure of everything. Surface features are standardised and then count little
(SURFACE_WEIGHT): a new task often looks like an old one.

Promise: the same questions give the same tensors. Leaves out: anything learned from scores; that is the scorers' part.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from router_core.features import SURFACE_DIMENSIONS, FloatArray, cut, ngram_counts, surface
from router_core.manifest import FeaturesSpec
from router_training.errors import DataError

BUCKETS = 8192
NGRAMS = (2, 3, 4, 5)
MAX_BYTES = 1024
DIRECTIONS = 64
SURFACE_WEIGHT = 0.015
_LEAST_SPREAD = 1e-6


def fit_features(
    questions: Sequence[str],
    *,
    weights_N: npt.NDArray[np.float64] | None = None,
    directions: int = DIRECTIONS,
    buckets: int = BUCKETS,
    ngrams: tuple[int, ...] = NGRAMS,
    max_bytes: int = MAX_BYTES,
    seed: int = 0,
) -> tuple[FeaturesSpec, dict[str, FloatArray]]:
    """The encoder's spec and its tensors, named as in a bundle ("encoder.projection", ...).

    Raises DataError if there are fewer than three different questions.
    """
    from scipy.sparse import csr_matrix, diags  # type: ignore[import-untyped]
    from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]

    contents = [cut(question, max_bytes)[0] for question in questions]
    if len(set(contents)) < 3:
        raise DataError(f"{len(set(contents))} different questions are too few to fit the features encoder on")
    counted = [ngram_counts(content, buckets, ngrams) for content in contents]
    starts = np.cumsum([0, *(len(found) for found, _ in counted)])
    counts_N_H = csr_matrix(
        (np.concatenate([weight for _, weight in counted]), np.concatenate([found for found, _ in counted]), starts),
        shape=(len(questions), buckets),
    )
    frequency_H = np.asarray((counts_N_H > 0).sum(axis=0)).ravel()
    idf_H = (np.log((1 + len(questions)) / (1 + frequency_H)) + 1).astype(np.float32)
    weighted = counts_N_H @ diags(idf_H)
    lengths_N = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    unit_N_H = diags(1 / np.maximum(lengths_N, 1e-12)) @ weighted
    count = min(directions, len(set(contents)) - 1)
    shares_N = np.ones(len(questions)) if weights_N is None else weights_N
    _, _, rows_K_H = randomized_svd(
        diags(np.sqrt(shares_N)) @ unit_N_H, n_components=count, n_iter=5, random_state=seed
    )
    surface_N_S = np.stack([surface(content) for content in contents])
    spread_S = surface_N_S.std(axis=0)
    # A feature that never varies in training says nothing, even where it varies later.
    scale_S = np.where(spread_S > _LEAST_SPREAD, SURFACE_WEIGHT / np.maximum(spread_S, _LEAST_SPREAD), 0)
    tensors = {
        "encoder.projection": (idf_H[:, None] * rows_K_H.T).astype(np.float32),
        "encoder.idf": idf_H,
        "encoder.mean": np.concatenate([np.zeros(count), surface_N_S.mean(axis=0)]).astype(np.float32),
        "encoder.scale": np.concatenate([np.ones(count), scale_S]).astype(np.float32),
    }
    spec = FeaturesSpec(dimensions=count + SURFACE_DIMENSIONS, buckets=buckets, ngrams=ngrams, max_bytes=max_bytes)
    return spec, tensors
