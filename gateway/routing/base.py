"""The values that routing takes and gives, and what a policy is."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

Reason = Literal["routed", "pinned", "rule", "session", "abstained", "fallback", "default"]
REASONS: tuple[Reason, ...] = ("routed", "pinned", "rule", "session", "abstained", "fallback", "default")
Need = Literal["image", "audio", "tools", "structured_output"]
CacheUse = Literal["hit", "miss", "joined"]
CACHE_USES: tuple[CacheUse, ...] = ("hit", "miss", "joined")
Exclusion = Literal["not_allowed", "image", "audio", "tools", "structured_output", "context", "cost", "unhealthy"]


class Dial(msgspec.Struct, frozen=True):
    """How much cost counts for one request, in the unit of `router.cost_unit`.

    `quality` 1 is quality alone, 0 cost alone, None what the gateway is set to; `max_cost` is the client's own cap on
    the request's expected cost, `key_max_cost` that of its key.
    """

    quality: float | None = None
    max_cost: float | None = None
    key_max_cost: float | None = None

    @property
    def cap(self) -> float | None:
        """The lower of the two caps; None without one."""
        if self.max_cost is None or self.key_max_cost is None:
            return self.key_max_cost if self.max_cost is None else self.max_cost
        return min(self.max_cost, self.key_max_cost)


NO_DIAL = Dial()


class RoutingRequest(msgspec.Struct, frozen=True):
    """What routing may know of a request.

    `ask` is the text that the router reads (router_core.query); `needs` is what the model must be able to do;
    `prompt_tokens` an estimate from below (characters / 4) of the prompt, `further_prompt_tokens` of the others of a
    batch; `max_tokens` what the client asked to be generated at most, and `answers` how often; `allowed_models` the
    key's allow-list, None for all; `headers` have lower-case names; `dial` weighs cost.
    """

    ask: str
    needs: frozenset[Need] = frozenset()
    prompt_tokens: int = 0
    further_prompt_tokens: int = 0
    max_tokens: int | None = None
    answers: int = 1
    session_id: str | None = None
    key_id: str | None = None
    allowed_models: frozenset[str] | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    dial: Dial = NO_DIAL


class RankedModel(msgspec.Struct, frozen=True):
    """One model of a ranking.

    `confidence` is the probability that it answers right, None where the policy has none; `cost` what the request
    should cost on it, None where that is not known. One that `is_pending` has too few probes to be chosen yet.
    """

    model: str
    confidence: float | None = None
    cost: float | None = None
    is_pending: bool = False


class Ranking(msgspec.Struct, frozen=True):
    """A policy's answer: models from best to worst, and what it took to find out, in seconds.

    `novelty` 0..1: how unlike the training queries the request is, None where the policy cannot tell. `least_gains`:
    for a default model, the gain in confidence over it below which it should answer instead. `shares`: where the order
    was drawn, each model's chance of the first place in proportion to the others'; empty where nothing was drawn.
    `cache`: whether the ranking was kept, computed, or computed for another request that asked the same; None where
    nothing is kept.
    """

    models: tuple[RankedModel, ...]
    novelty: float | None = None
    least_gains: Mapping[str, float] = msgspec.field(default_factory=dict)
    shares: Mapping[str, float] = msgspec.field(default_factory=dict)
    cache: CacheUse | None = None
    encode_s: float = 0.0
    score_s: float = 0.0

    def propensity(self, usable: Sequence[RankedModel]) -> float:
        """The chance with which the first of the `usable` models came before the others of them."""
        if not self.shares:
            return 1.0
        return self.shares[usable[0].model] / sum(self.shares[entry.model] for entry in usable)


class Decision(msgspec.Struct, frozen=True):
    """Which models to try, in order, and why.

    `candidates` is never empty; its first member is the choice. The edge walks down it when a model cannot be reached.
    `ranking` is the policy's whole ranking before any mask, and `novelty` the request's, for `x-gateway-debug`.
    `detail` says in words why the reason is `abstained`, `fallback` or `default`. `masks` tells which mask each
    forbidden model failed; `propensity` is the chance with which a policy that draws chose as it did; `quality` is the
    dial that held, None for a pinned model. `cache` is that of the ranking.
    """

    decision_id: str
    candidates: tuple[RankedModel, ...]
    reason: Reason
    ranking: tuple[RankedModel, ...] = ()
    novelty: float | None = None
    bundle_digest: str | None = None
    cache: CacheUse | None = None
    encode_s: float = 0.0
    score_s: float = 0.0
    detail: str = ""
    masks: Mapping[str, Exclusion] = msgspec.field(default_factory=dict)
    propensity: float = 1.0
    quality: float | None = None

    @property
    def choice(self) -> RankedModel:
        """The model to ask first."""
        return self.candidates[0]


class EncoderAddress(msgspec.Struct, frozen=True):
    """The unix socket of the encoder process. `on_change` is told when this worker's encoder comes and goes."""

    socket: Path
    on_change: Callable[[bool], None]


class Policy(Protocol):
    """Ranks models for a request. `bundle_digest` is None for a policy without a bundle."""

    @property
    def models(self) -> frozenset[str]:
        """Public names of every model the policy may rank; the others are pinned-only."""

    @property
    def bundle_digest(self) -> str | None:
        """Digest of the live bundle, hex."""

    @property
    def is_ready(self) -> bool:
        """True once the policy can decide."""

    @property
    def encoder_is_up(self) -> bool | None:
        """Whether the encoder process answers; None for a policy that needs none."""

    async def start(self) -> None:
        """Load what the policy needs; called once before the first request."""

    async def rank(self, request: RoutingRequest) -> Ranking:
        """Rank ALL models the policy knows, best first, whatever their health. Raises RoutingUnavailableError."""

    async def aclose(self) -> None:
        """Stop threads and free the encoder."""


class Health(Protocol):
    """What routing asks of the pool."""

    def is_healthy(self, model: str) -> bool:
        """True if at least one replica of the model answers."""


class RoutingUnavailableError(Exception):
    """The policy cannot rank now (no bundle, encoder down or late): the default model answers. Says why, briefly."""


class NothingToRouteOnError(RoutingUnavailableError):
    """The request holds no text to rank by: nothing failed, the declared default answers."""
