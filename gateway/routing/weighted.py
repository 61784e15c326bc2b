"""Policy `weighted`: models are drawn with declared shares, for splits and comparisons.

The ranking is a weighted draw without replacement: the first place falls to each model with its share, the second among
the rest with theirs, and so on. So when the first is down, its traffic spreads over the others by their shares.
"""

import random
from collections.abc import Mapping

from gateway.routing.base import EncoderAddress, RankedModel, Ranking, RoutingRequest
from gateway.settings import Settings


class Weighted:
    """Ranks the models that have a weight; `weights` are any positive numbers."""

    bundle_digest: str | None = None
    is_ready = True
    encoder_is_up: bool | None = None

    def __init__(self, weights: Mapping[str, float], draw: random.Random) -> None:
        self.models = frozenset(weights)
        self._weights = dict(weights)
        self._draw = draw

    async def start(self) -> None:
        """Nothing to load."""

    async def rank(self, request: RoutingRequest) -> Ranking:
        """Every weighted model, in a fresh draw.

        Waiting times: each model arrives after an exponential time whose rate is its weight, and models rank by
        arrival.
        """
        arrivals = {model: self._draw.expovariate(weight) for model, weight in self._weights.items()}
        models = tuple(RankedModel(model) for model in sorted(arrivals, key=arrivals.__getitem__))
        return Ranking(models, shares=self._weights)

    async def aclose(self) -> None:
        """Nothing to free."""


def build(settings: Settings, _: EncoderAddress | None) -> Weighted:
    """The policy of `router.weights` and `router.seed`."""
    return Weighted(settings.router.weights, random.Random(settings.router.seed))  # noqa: S311 - shares, not secrets
