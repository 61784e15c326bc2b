"""Routing methods as rows of a table: setting chosen by cross-validation on train, fitted on train, judged on test.

A method is judged by its scorer's own figures, the model with the highest one answering: no calibration and no novelty
score, which are not part of a method as published. How the default does when it is served with both is served.py.

Promise: nothing of test is looked at before the choices on it are made. Methods that draw at random are fitted once per
seed; their setting is chosen once, with the first seed.

Axis suffixes: N queries, D encoder dimensions, M models.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from benchmarks.cached_embeddings import cached_embeddings
from benchmarks.sides import Sides, earned_by
from router_core.bundle import FeaturesSpec
from router_core.features import FeaturesEncoder
from router_core.tensors import FloatArray, Tensors
from router_training.evaluate.routed_accuracy import Floats, Indices
from router_training.routers.config import RouterTrainConfig
from router_training.routers.encoder import SentenceEncoder
from router_training.routers.encoding import Encoded, encode_questions
from router_training.routers.job import fit_data_of
from router_training.routers.methods.base import Fitted, quality_of, task_weights
from router_training.routers.methods.choosing import choose_setting, draw_folds
from router_training.routers.methods.registry import method_named
from router_training.routers.one_thread import one_thread

FEATURES, MINILM = "features", "MiniLM"
RANDOM_METHODS = frozenset({"routerdc", "mlp", "clusters"})
"""Those that draw start weights, batches or centroids; the others give the same weights for any seed."""


@dataclass(frozen=True)
class Vectors:
    """Both sides as an encoder sees them, test (N, D); `took_s` to fit the encoder and to encode."""

    name: str
    train: Encoded
    test: FloatArray
    encoder_bytes: int
    took_s: float


@dataclass(frozen=True)
class Contender:
    """A row: a method on an encoder's vectors. `setting` None: chosen from the method's grid by cross-validation."""

    label: str
    method: str
    setting: Mapping[str, JsonValue] | None = None

    def seeds(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Those it is fitted with."""
        return tuple(seeds) if self.method in RANDOM_METHODS else tuple(seeds[:1])


@dataclass(frozen=True)
class Result:
    """Choice (N,) and credit (N,) on test for every seed, the setting, the time of one fit and its choice, the size."""

    label: str
    choices: tuple[Indices, ...]
    earned: tuple[Floats, ...]
    setting: Mapping[str, JsonValue]
    took_s: float
    scorer_bytes: int

    @property
    def mean_earned(self) -> Floats:
        """Credit (N,), averaged over the seeds: what paired differences are taken of."""
        mean: Floats = np.mean(self.earned, axis=0)
        return mean


def features_vectors(sides: Sides, seed: int = 0) -> Vectors:
    """Fit the features encoder on train and encode both sides."""
    began = time.monotonic()
    config = RouterTrainConfig(data=("-",), out=Path("-"), seed=seed)
    encoded = encode_questions(config, sides.train.questions, task_weights(sides.train.tasks))
    test = encoded_by_features(encoded, sides.test.questions)
    size = sum(tensor.nbytes for tensor in encoded.tensors.values())
    return Vectors(FEATURES, encoded, test, size, time.monotonic() - began)


def encoded_by_features(encoded: Encoded, questions: Sequence[str]) -> FloatArray:
    """Vectors (N, D) by the features encoder that was fitted for `encoded`."""
    if not isinstance(encoded.spec, FeaturesSpec):
        raise TypeError(f"{encoded.spec.name!r} is not the features encoder")
    tensors = Tensors(encoded.tensors, "fitted encoder", {"D": encoded.spec.dimensions})
    return FeaturesEncoder(encoded.spec, tensors).encode(questions)[0]


def minilm_vectors(sides: Sides, encoder: SentenceEncoder, cache: Path) -> Vectors:
    """Embed both sides with the frozen sentence encoder, or read them from `cache`."""
    train, train_s = cached_embeddings(encoder, sides.train.questions, cache=cache, label="train")
    test, test_s = cached_embeddings(encoder, sides.test.questions, cache=cache, label="test")
    size = sum(parameter.numel() * parameter.element_size() for parameter in encoder.model.parameters())
    return Vectors(MINILM, Encoded(encoder.spec, train), test, size, train_s + test_s)


def compete(contender: Contender, sides: Sides, vectors: Vectors, seeds: Sequence[int]) -> Result:
    """Choose, fit and judge one row, on one thread, so that figures and times repeat."""
    with one_thread():
        result = _compete(contender, sides, vectors, seeds)
    print(
        f"{vectors.name}: {contender.label}: setting {dict(result.setting)}, {result.took_s:.1f} s to choose and fit; "
        f"{len(result.choices)} fit(s)",
        flush=True,
    )
    return result


def _compete(contender: Contender, sides: Sides, vectors: Vectors, seeds: Sequence[int]) -> Result:
    began = time.monotonic()
    method, train = method_named(contender.method), sides.train
    config = RouterTrainConfig(data=("-",), out=Path("-"), seed=seeds[0])
    data = fit_data_of(config, train, vectors.train)
    setting = contender.setting
    if setting is None:
        folds_N = draw_folds(train.questions, train.tasks, groups=train.groups, folds=config.folds, seed=config.seed)
        setting = choose_setting(method, data, folds_N)[0]
    fitted = method.fit(data, **setting)
    took_s = time.monotonic() - began
    fits = [fitted, *(method.fit(replace(data, seed=seed), **setting) for seed in contender.seeds(seeds)[1:])]
    choices = tuple(quality_of(fit, vectors.test, len(sides.test.models)).argmax(axis=1) for fit in fits)
    return Result(
        label=contender.label,
        choices=choices,
        earned=tuple(earned_by(choice_N, sides.test.credit) for choice_N in choices),
        setting=setting,
        took_s=took_s,
        scorer_bytes=_bytes(fitted),
    )


def _bytes(fitted: Fitted) -> int:
    return sum(tensor.nbytes for tensor in fitted.tensors.values())
