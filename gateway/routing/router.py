"""Decides which models to try for a request, in which order, and says why.

Order of authority: hard masks (gateway/routing/masks.py), rules, the session, abstention, the policy's ranking of all
its models as the cost-quality dial weighs it. Each only chooses among what the ones before it left. When the policy
cannot rank, the declared default answers, or, where a mask forbids that one too, the next routable model in config
order; never a random model, never an error of the router's own.

Leaves out: trying the candidates. The edge walks down them when a model cannot be reached.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from gateway.errors import ModelNotFoundError, PermissionDeniedError
from gateway.ids import hex_ids
from gateway.observability.logs import log_event
from gateway.routing.abstention import Abstention
from gateway.routing.base import (
    Decision,
    Health,
    NothingToRouteOnError,
    Policy,
    RankedModel,
    Ranking,
    Reason,
    RoutingRequest,
    RoutingUnavailableError,
)
from gateway.routing.costs import MAX_COST_HEADER, QUALITY_HEADER, Costs
from gateway.routing.masks import Masked, mask_models, refusal
from gateway.routing.registry import build_policy
from gateway.routing.rules import Rules
from gateway.routing.session import Sessions
from gateway.routing.weighing import Weighing
from gateway.settings import ModelSettings, Settings
from gateway.state.base import State

DECISION_ID_DIGITS = 16
_logger = logging.getLogger(__name__)
_NO_RANKING = Ranking(())
_ALL_ALLOWED = Masked((), ())


class _Case(msgspec.Struct, frozen=True):
    """A request with what its decision is taken from: who may answer, who of those routing chooses from, the dial."""

    request: RoutingRequest
    masked: Masked
    routable: Masked
    weighing: Weighing


class _Verdict(msgspec.Struct, frozen=True):
    """What was decided, before it gets an id. `order` has the choice first and the models to fall back on behind it."""

    reason: Reason
    order: tuple[RankedModel, ...]
    ranking: Ranking = _NO_RANKING
    detail: str = ""
    propensity: float = 1.0


class Router:
    """Turns a request into a decision. `build_router` makes one from the settings."""

    def __init__(
        self,
        *,
        models: Sequence[ModelSettings],
        aliases: Iterable[str],
        default_model: str,
        rules: Rules,
        sessions: Sessions,
        policy: Policy,
        health: Health,
        retry_after_s: float,
        costs: Costs,
        quality: float = 1.0,
        abstention: Abstention | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.aliases = frozenset(aliases)
        self._models = tuple(models)
        self._names = frozenset(model.name for model in models)
        self._default = default_model
        self._rules = rules
        self._sessions = sessions
        self.policy = policy
        self._health = health
        self._retry_after_s = retry_after_s
        self._costs = costs
        self._quality = quality
        self._abstention = abstention
        self._routable = policy.models | {default_model}
        others = [model.name for model in self._models if model.name in self._routable - {default_model}]
        self._declared = tuple(RankedModel(name) for name in (default_model, *others))
        self._unpriced = costs.unknown_among(self._routable)
        self._new_id = new_id or partial(next, hex_ids(DECISION_ID_DIGITS))

    @property
    def is_ready(self) -> bool:
        """True once the policy can decide; with `learned`, a bundle is live and its encoder has answered once."""
        return self.policy.is_ready

    @property
    def encoder_is_up(self) -> bool | None:
        """Whether the encoder process answers; None if none is needed."""
        return self.policy.encoder_is_up

    @property
    def bundle_digest(self) -> str | None:
        """Digest of the live bundle, hex; None without one."""
        return self.policy.bundle_digest

    async def start(self) -> None:
        """Load what the policy needs. Raises ConfigError or BundleError in one line."""
        await self.policy.start()

    async def aclose(self) -> None:
        """Stop the policy."""
        await self.policy.aclose()

    async def pin(self, model: str, request: RoutingRequest) -> Decision:
        """The decision for a model that the client named: that one and no other, whatever its health.

        Raises ModelNotFoundError if no such model is served, PermissionDeniedError if the key may not use it or not
        spend as much, RequestError if it costs more than the request's own cap.
        """
        if model not in self._names:
            raise ModelNotFoundError(f"model {model!r} is not served here; GET /v1/models lists what is", param="model")
        if request.allowed_models is not None and model not in request.allowed_models:
            raise PermissionDeniedError(f"this key may not use model {model!r}", param="model")
        if request.dial.cap is not None:
            costs = self._costs.expected(request)
            if not costs.fit(model, request.dial):
                raise costs.refusal([model], request.dial)
        return self._decision(_Verdict("pinned", (RankedModel(model),)))

    async def decide(self, request: RoutingRequest) -> Decision:
        """The decision for a request that names no model.

        Raises PermissionDeniedError, RequestError or NoHealthyUpstreamError if no model may answer (masks.refusal),
        RequestError for a dial that asks for costs where they are not known, and nothing else: a policy, an encoder or
        a store that fails gives the declared default.
        """
        costs = self._costs.expected(request)
        quality = self._asked_quality(request)
        masked = mask_models(self._models, request, self._health, costs)
        routable = masked.among(self._routable)
        rule = self._rules.first_match(request, masked)
        if rule is not None:
            order = _distinct([RankedModel(rule.model)], self._declared_order(routable))
            return self._decision(_Verdict("rule", order), masked, quality)
        if not routable.allowed:
            raise refusal(routable, request, retry_after_s=self._retry_after_s, costs=costs)
        weighing = Weighing.among(quality, costs.by_model, routable.able)
        return self._decision(await self._verdict(_Case(request, masked, routable, weighing)), masked, quality)

    def _asked_quality(self, request: RoutingRequest) -> float:
        """The dial of the request. Raises RequestError if it weighs costs and one of them is not known."""
        dial = request.dial
        quality = self._quality if dial.quality is None else dial.quality
        if self._unpriced and (quality < 1 or dial.max_cost is not None):
            header = QUALITY_HEADER if quality < 1 else MAX_COST_HEADER
            raise self._costs.refusal_to_weigh(header, self._unpriced)
        return quality

    async def _verdict(self, case: _Case) -> _Verdict:
        if case.request.session_id is None:
            return await self._ranked(case)
        session = self._sessions.of(case.request)
        kept_name = await session.recall()
        kept = RankedModel(kept_name) if kept_name is not None and self._may_stay(kept_name, case) else None
        verdict = await self._ranked(case)
        if kept is not None:
            verdict = self._with_session(verdict, kept, case.weighing)
        is_away = kept is None and kept_name in self._names
        if verdict.reason in {"routed", "abstained", "session"} and not is_away:
            # Neither a fallback nor a turn that the session's model cannot take is remembered: the conversation goes
            # back to its model as soon as that can answer.
            await session.remember(verdict.order[0].model)
        return verdict

    def _may_stay(self, name: str, case: _Case) -> bool:
        """True if a session may keep the model: one that routing chooses from, or what answers when it abstains."""
        stand_in = None if self._abstention is None else self._abstention.stand_in
        return name in case.routable.allowed or (name == stand_in and name in case.masked.allowed)

    async def _ranked(self, case: _Case) -> _Verdict:
        routable, declared = case.routable, self._declared_order(case.routable)
        try:
            ranking = case.weighing.applied(await self.policy.rank(case.request))
        except NothingToRouteOnError as error:
            return _Verdict("default", declared, detail=str(error))
        except RoutingUnavailableError as error:
            log_event(_logger, "routing_unavailable", level=logging.WARNING, why=str(error), model=declared[0].model)
            return _Verdict("fallback", declared, detail=str(error))
        usable = [entry for entry in ranking.models if entry.model in routable.allowed and not entry.is_pending]
        if not usable:
            return _Verdict("fallback", declared, ranking, "none of the ranked models can take the request now")
        passed_over = _down_and_better(routable, ranking, usable[0])
        instead = self._instead_of(usable[0], ranking, case)
        order = _distinct([instead, *usable] if instead is not None else usable, declared)
        if passed_over is not None:
            detail = f"{passed_over} ranks higher and is down"
            return _Verdict("fallback", order, ranking, detail, ranking.propensity(usable))
        if instead is not None:
            return _Verdict("abstained", order, ranking, f"{usable[0].model} gains too little over {self._default}")
        return _Verdict("routed", order, ranking, propensity=ranking.propensity(usable))

    def _instead_of(self, best: RankedModel, ranking: Ranking, case: _Case) -> RankedModel | None:
        """Who answers where the router abstains."""
        if self._abstention is None:
            return None
        return self._abstention.instead_of(best, ranking, case.weighing, case.masked.allowed)

    def _with_session(self, verdict: _Verdict, kept: RankedModel, weighing: Weighing) -> _Verdict:
        """The session's model first, unless the best of the ranking gains more than the margin."""
        ranked = next((entry for entry in verdict.ranking.models if entry.model == kept.model), kept)
        is_choice = verdict.reason in {"routed", "abstained"}
        if is_choice and not self._sessions.keeps(weighing.gain(verdict.order[0], ranked)):
            return verdict
        return _Verdict("session", _distinct([ranked], verdict.order), verdict.ranking)

    def _declared_order(self, routable: Masked) -> tuple[RankedModel, ...]:
        """Allowed models without a ranking: the default, then the others in config order."""
        if len(routable.allowed) == len(self._declared):
            return self._declared
        return tuple(entry for entry in self._declared if entry.model in routable.allowed)

    def _decision(self, verdict: _Verdict, masked: Masked = _ALL_ALLOWED, quality: float | None = None) -> Decision:
        return Decision(
            decision_id=self._new_id(),
            candidates=verdict.order,
            reason=verdict.reason,
            ranking=verdict.ranking.models,
            novelty=verdict.ranking.novelty,
            bundle_digest=self.policy.bundle_digest,
            cache=verdict.ranking.cache,
            encode_s=verdict.ranking.encode_s,
            score_s=verdict.ranking.score_s,
            detail=verdict.detail,
            masks={entry.model.name: entry.why for entry in masked.excluded},
            propensity=verdict.propensity,
            quality=quality,
        )


def build_router(settings: Settings, health: Health, state: State, policy: Policy | None = None) -> Router:
    """The router of `settings`, with `policy` if one is given, else with one that is not yet started.

    Raises ConfigError.
    """
    options = settings.router
    return Router(
        models=settings.models,
        aliases=options.aliases,
        default_model=options.default_model,
        rules=Rules(settings.rules),
        sessions=Sessions(state, margin=options.session_margin, ttl_s=options.session_ttl_s),
        policy=policy or build_policy(settings),
        health=health,
        retry_after_s=settings.upstream.health_interval_s,
        costs=Costs(settings.models, unit=options.cost_unit, expected_answer_tokens=options.expected_answer_tokens),
        quality=options.quality,
        abstention=Abstention(options.default_model, options.abstain_to) if options.abstain else None,
    )


def _down_and_better(masked: Masked, ranking: Ranking, choice: RankedModel) -> str | None:
    """The best-ranked model that only its health kept from being the choice; None if there is none."""
    if not masked.excluded:
        return None
    better = ranking.models[: ranking.models.index(choice)]
    return next((entry.model for entry in better if masked.why_not(entry.model) == "unhealthy"), None)


def _distinct(first: Sequence[RankedModel], then: Iterable[RankedModel]) -> tuple[RankedModel, ...]:
    """`first`, then those of `then` whose model is not there yet."""
    order = {entry.model: entry for entry in first}
    for entry in then:
        order.setdefault(entry.model, entry)
    return tuple(order.values())
