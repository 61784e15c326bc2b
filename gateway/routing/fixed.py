"""Policy `fixed`: one model answers everything; it is the baseline, and the way to switch learned routing off."""

from gateway.errors import ConfigError
from gateway.routing.base import EncoderAddress, RankedModel, Ranking, RoutingRequest
from gateway.settings import Settings


class Fixed:
    """Ranks one model. While that model cannot answer, the router falls back to the declared default."""

    bundle_digest: str | None = None
    is_ready = True
    encoder_is_up: bool | None = None

    def __init__(self, model: str) -> None:
        self.models = frozenset({model})
        self._ranking = Ranking((RankedModel(model),))

    async def start(self) -> None:
        """Nothing to load."""

    async def rank(self, request: RoutingRequest) -> Ranking:
        """The one model, without a confidence."""
        return self._ranking

    async def aclose(self) -> None:
        """Nothing to free."""


def build(settings: Settings, _: EncoderAddress | None) -> Fixed:
    """The policy of `router.fixed_model`."""
    if settings.router.fixed_model is None:
        raise ConfigError("router.fixed_model: policy fixed needs it")
    return Fixed(settings.router.fixed_model)
