"""Policy `learned`: the RouterDC bundle ranks its models by how well each should answer the ask.

The ask is embedded in the encoder's worker thread, then scored in numpy on the event loop, which takes microseconds.
The ranking holds every model of the bundle that is served, under its public name. Confidences are the bundle's own,
over ALL its models: where some are not served, those of the others do not sum to one.

Without a usable encoder the policy starts all the same, is not ready, and every request gets the declared default.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import ConfigError
from gateway.observability.logs import log_event
from gateway.routing.base import (
    NothingToRouteOnError,
    RankedModel,
    Ranking,
    RoutingRequest,
    RoutingUnavailableError,
)
from gateway.routing.batching import BatchingEncoder, EncodeFunction
from gateway.routing.encoder import load_encoder
from gateway.routing.mapping import map_models
from gateway.settings import EncoderSettings, ModelSettings, Settings
from router_core.bundle import RouterBundle, load_bundle
from router_core.errors import BundleError
from router_core.scoring import Scorer, Scores, scorer_from_bundle

LoadEncoder = Callable[[RouterBundle, EncoderSettings], EncodeFunction]

_logger = logging.getLogger(__name__)


class Learned:
    """Ranks the models that have a `router_name`. `load_encoder` is a parameter so that tests need no torch."""

    def __init__(
        self,
        models: Sequence[ModelSettings],
        bundle: Path,
        encoder: EncoderSettings,
        *,
        load_encoder: LoadEncoder = load_encoder,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.models = frozenset(model.name for model in models if model.router_name is not None)
        self._served = tuple(models)
        self._path = bundle
        self._encoder_settings = encoder
        self._load_encoder = load_encoder
        self._clock = clock
        self._digest: str | None = None
        self._public: dict[str, str] = {}
        self._scorer: Scorer | None = None
        self._encoder: BatchingEncoder | None = None

    @property
    def bundle_digest(self) -> str | None:
        """Digest of the live bundle; None before `start`."""
        return self._digest

    @property
    def is_ready(self) -> bool:
        """True once the bundle is live and its encoder is loaded."""
        return self._scorer is not None and self._encoder is not None and self._encoder.is_ready

    async def start(self) -> None:
        """Load and verify the bundle, then the encoder.

        Raises BundleError for a bundle that cannot be trusted or an encoder that is not the bundle's, ConfigError for a
        router_name that the bundle does not have. An encoder that is missing or fails to load is logged.
        """
        bundle = await asyncio.to_thread(load_bundle, self._path)
        self._public = map_models(self._served, bundle.models)
        self._scorer = scorer_from_bundle(bundle)
        self._digest = bundle.digest
        settings = self._encoder_settings
        self._encoder = BatchingEncoder(
            lambda: self._load_encoder(bundle, settings),
            timeout_s=settings.timeout_s,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
        )
        try:
            await self._encoder.start()
        except BundleError:
            await self._encoder.aclose()
            raise
        except Exception as error:  # noqa: BLE001 - border: torch, its drivers and the disk fail in types of their own
            log_event(
                _logger,
                "encoder_missing",
                level=logging.ERROR,
                encoder=bundle.encoder.name,
                error=f"{type(error).__name__}: {error}",
            )

    async def rank(self, request: RoutingRequest) -> Ranking:
        """Every served model of the bundle, best first, with its confidence.

        Raises NothingToRouteOnError for an ask without text, RoutingUnavailableError if the encoder cannot embed it in
        time.
        """
        if self._scorer is None or self._encoder is None:
            raise RoutingUnavailableError("no bundle is live")
        if not request.ask or request.ask.isspace():
            raise NothingToRouteOnError("the request has no text to route on")
        began = self._clock()
        embedding_D = await self._encoder.encode(request.ask)
        encoded = self._clock()
        try:
            scores = self._scorer.score(embedding_D[None, :])
        except BundleError as error:
            raise RoutingUnavailableError(str(error)) from error
        models = self._ranked(scores, self._scorer.models)
        return Ranking(models, encode_s=encoded - began, score_s=self._clock() - encoded)

    async def aclose(self) -> None:
        """Stop the encoder."""
        if self._encoder is not None:
            await self._encoder.aclose()

    def _ranked(self, scores: Scores, names: Sequence[str]) -> tuple[RankedModel, ...]:
        confidences = scores.confidences[0]
        return tuple(
            RankedModel(self._public[names[i]], float(confidences[i]))
            for i in scores.ranking()[0]
            if names[i] in self._public
        )


def build(settings: Settings) -> Learned:
    """The policy of `router.bundle`."""
    if settings.router.bundle is None:
        raise ConfigError("router.bundle: policy learned needs a bundle")
    return Learned(settings.models, settings.router.bundle, settings.router.encoder)
