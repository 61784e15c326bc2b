"""Policy `random`: every served model is as likely as any other; the baseline that a router must beat."""

import random
from collections.abc import Sequence

from gateway.routing.base import EncoderAddress, RankedModel, Ranking, RoutingRequest
from gateway.settings import Settings


class Random:
    """Ranks `models` in a fresh uniform order for each request."""

    bundle_digest: str | None = None
    is_ready = True
    encoder_is_up: bool | None = None

    def __init__(self, models: Sequence[str], draw: random.Random) -> None:
        self.models = frozenset(models)
        self._models = tuple(models)
        self._shares = dict.fromkeys(models, 1.0)
        self._draw = draw

    async def start(self) -> None:
        """Nothing to load."""

    async def rank(self, request: RoutingRequest) -> Ranking:
        """Every model once, in random order."""
        models = self._draw.sample(self._models, len(self._models))
        return Ranking(tuple(RankedModel(model) for model in models), shares=self._shares)

    async def aclose(self) -> None:
        """Nothing to free."""


def build(settings: Settings, _: EncoderAddress | None) -> Random:
    """The policy over every served model, with `router.seed`."""
    draw = random.Random(settings.router.seed)  # noqa: S311 - a baseline, not a secret
    return Random([model.name for model in settings.models], draw)
