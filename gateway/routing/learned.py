"""Policy `learned`: a router bundle ranks its models by how probably each answers the ask right.

The bundle's own `features` encoder runs here, on the event loop, in some tens of microseconds; a neural encoder runs in
the encoder process (encoder_client.py). Scoring is numpy on the event loop, in microseconds. The ranking holds every
model of the bundle that is served, under its public name, with its calibrated probability; rankings are kept for who
asks the same again (decision_cache.py).

While the encoder process is down the policy ranks only what it has kept; every other request gets the declared default.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from gateway.errors import ConfigError
from gateway.routing.base import (
    CacheUse,
    EncoderAddress,
    NothingToRouteOnError,
    RankedModel,
    Ranking,
    RoutingRequest,
    RoutingUnavailableError,
)
from gateway.routing.decision_cache import DecisionCache, key_of
from gateway.routing.encoder_client import EncoderClient
from gateway.routing.mapping import map_models, public_thresholds
from gateway.settings import ModelSettings, Settings
from router_core.bundle import RouterBundle, Scores, load_bundle
from router_core.errors import BundleError
from router_core.features import FeaturesEncoder
from router_core.tensors import FloatArray


class Encoder(Protocol):
    """What gives the vector of an ask, and the share of it that was cut off."""

    @property
    def has_answered(self) -> bool:
        """True once it has been able to encode."""

    @property
    def is_up(self) -> bool:
        """True while it can."""

    async def start(self) -> None:
        """Load what it needs. Raises ConfigError."""

    async def encode(self, text: str) -> tuple[FloatArray, float]:
        """The vector (D,) and the share lost, 0..1. Raises RoutingUnavailableError."""

    async def aclose(self) -> None:
        """Stop."""


class InlineEncoder:
    """The bundle's `features` encoder: too quick to be worth a process, and bounded by its `max_bytes`."""

    has_answered = is_up = True

    def __init__(self, features: FeaturesEncoder) -> None:
        self._features = features

    async def start(self) -> None:
        """Nothing to load: its tensors came with the bundle."""

    async def encode(self, text: str) -> tuple[FloatArray, float]:
        """The vector and the share lost, at once."""
        vectors_1_D, lost_1 = self._features.encode([text])
        return vectors_1_D[0], float(lost_1[0])

    async def aclose(self) -> None:
        """Nothing to stop."""


class Learned:
    """Ranks the models that have a `router_name`. `open_encoder` gives a bundle its neural encoder."""

    def __init__(
        self,
        models: Sequence[ModelSettings],
        bundle: Path,
        open_encoder: Callable[[RouterBundle], Encoder],
        *,
        cache_entries: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.models = frozenset(model.name for model in models if model.router_name is not None)
        self._served = tuple(models)
        self._path = bundle
        self._open_encoder = open_encoder
        self._clock = clock
        self._bundle: RouterBundle | None = None
        self._public: Mapping[str, str] = {}
        self._least_gains: Mapping[str, float] = {}
        self._encoder: Encoder | None = None
        # This policy has one bundle in its life, so what is kept is that bundle's.
        self._cache = DecisionCache(cache_entries)
        self._uncached: CacheUse | None = "miss" if cache_entries else None

    @property
    def bundle_digest(self) -> str | None:
        """Digest of the live bundle; None before `start`."""
        return None if self._bundle is None else self._bundle.digest

    @property
    def is_ready(self) -> bool:
        """True once the bundle is live and its encoder has answered, until `aclose`."""
        return self._encoder is not None and self._encoder.has_answered

    @property
    def encoder_is_up(self) -> bool | None:
        """Whether the encoder process answers; None if the bundle needs none."""
        if self._bundle is None or self._bundle.features is not None:
            return None
        return self._encoder is not None and self._encoder.is_up

    async def start(self) -> None:
        """Load and verify the bundle, then the encoder.

        Raises BundleError for a bundle that cannot be trusted, ConfigError for a router_name that the bundle does not
        have or an encoder that cannot be loaded.
        """
        bundle = await asyncio.to_thread(load_bundle, self._path)
        self._public = map_models(self._served, bundle.models)
        self._least_gains = public_thresholds(bundle, self._public)
        self._bundle = bundle
        self._encoder = self._open_encoder(bundle) if bundle.features is None else InlineEncoder(bundle.features)
        await self._encoder.start()

    async def rank(self, request: RoutingRequest) -> Ranking:
        """Every served model of the bundle, best first, with its probability.

        Raises NothingToRouteOnError for an ask without text, RoutingUnavailableError if the encoder cannot embed it in
        time.
        """
        if self._bundle is None or self._encoder is None:
            raise RoutingUnavailableError("no bundle is live")
        if not request.ask or request.ask.isspace():
            raise NothingToRouteOnError("the request has no text to route on")
        # By key: whether it was kept tells that somebody has asked this.
        key = request.key_id, key_of(request.ask)
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        if self._bundle.features is None:
            return await self._cache.join(key, partial(self._computed, request.ask))
        # Never waits, so nobody can ask the same in the meantime.
        ranking = await self._computed(request.ask)
        self._cache.put(key, ranking)
        return ranking

    async def aclose(self) -> None:
        """Stop the encoder."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            await encoder.aclose()

    async def _computed(self, ask: str) -> Ranking:
        if self._bundle is None or self._encoder is None:
            raise RoutingUnavailableError("no bundle is live")
        began = self._clock()
        vector_D, lost = await self._encoder.encode(ask)
        encoded = self._clock()
        try:
            scores = self._bundle.router.score(vector_D[None, :], np.array([lost], dtype=np.float32))
        except BundleError as error:
            raise RoutingUnavailableError(str(error)) from error
        return Ranking(
            self._ranked(scores, self._bundle.models),
            novelty=float(scores.novelty[0]),
            least_gains=self._least_gains,
            cache=self._uncached,
            encode_s=encoded - began,
            score_s=self._clock() - encoded,
        )

    def _ranked(self, scores: Scores, names: Sequence[str]) -> tuple[RankedModel, ...]:
        probabilities, is_calibrated = scores.probability[0].tolist(), scores.is_calibrated.tolist()
        return tuple(
            RankedModel(self._public[names[i]], probabilities[i], is_pending=not is_calibrated[i])
            for i in scores.ranking()[0].tolist()
            if names[i] in self._public
        )


def build(settings: Settings, address: EncoderAddress | None) -> Learned:
    """The policy of `router.bundle`; `address` is that of the encoder process, if there is one."""
    options = settings.router
    if options.bundle is None:
        raise ConfigError("router.bundle: policy learned needs a bundle")

    def open_encoder(bundle: RouterBundle) -> Encoder:
        if address is None:
            raise ConfigError(f"{bundle.path}: its encoder runs in a process that only `gateway serve` starts")
        return EncoderClient(bundle, options.encoder, address)

    return Learned(settings.models, options.bundle, open_encoder, cache_entries=options.decision_cache_entries)
