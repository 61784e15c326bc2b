"""Hard masks: which models may answer a request at all, and for each of the others the first reason why not.

A pure function over the configuration, the request and the pool's health. A mask is never traded against confidence:
the router's ranking, rules and sessions all choose among what is left here, so a prompt cannot talk its way to a model
that the key may not use or pay for.

Leaves out: exact token counts. `prompt_tokens` is an estimate from below, so the context mask refuses only what surely
does not fit; the upstream has the last word. A cap on cost is one on the expected cost (costs.py).
"""

from collections.abc import Iterable, Sequence

import msgspec

from gateway.errors import GatewayError, NoHealthyUpstreamError, PermissionDeniedError, RequestError
from gateway.routing.base import Exclusion, Health, Need, RoutingRequest
from gateway.routing.costs import NO_COSTS, ExpectedCosts
from gateway.settings import ModelSettings

NEEDS: dict[Need, str] = {
    "image": "images",
    "audio": "audio",
    "tools": "tool calls",
    "structured_output": "response_format or guided decoding",
}


class MaskedModel(msgspec.Struct, frozen=True):
    """A model that may not answer, and the first mask that it failed."""

    model: ModelSettings
    why: Exclusion


class Masked(msgspec.Struct, frozen=True):
    """The models that may answer, in config order, and the others."""

    allowed: tuple[str, ...]
    excluded: tuple[MaskedModel, ...]

    @property
    def able(self) -> tuple[str, ...]:
        """The models that may answer, up or down."""
        if not self.excluded:
            return self.allowed
        return (*self.allowed, *(masked.model.name for masked in self.excluded if masked.why == "unhealthy"))

    def among(self, names: Iterable[str]) -> "Masked":
        """The same result, as if only `names` were served."""
        kept = frozenset(names)
        if not self.excluded and kept.issuperset(self.allowed):
            return self
        return Masked(
            allowed=tuple(name for name in self.allowed if name in kept),
            excluded=tuple(masked for masked in self.excluded if masked.model.name in kept),
        )

    def why_not(self, name: str) -> Exclusion | None:
        """The mask that `name` failed; None if it is allowed or not served."""
        return next((masked.why for masked in self.excluded if masked.model.name == name), None)


def mask_models(
    models: Sequence[ModelSettings], request: RoutingRequest, health: Health, costs: ExpectedCosts = NO_COSTS
) -> Masked:
    """Apply every mask to every model, in the order: key's allow-list, needs, context length, cost, health."""
    needs, tokens = sorted(request.needs), request.prompt_tokens + _answer_tokens(request)
    permitted, is_capped = request.allowed_models, request.dial.cap is not None
    allowed: list[str] = []
    excluded: list[MaskedModel] = []
    for model in models:
        name, longest = model.name, model.context_tokens
        why: Exclusion | None = None
        if permitted is not None and name not in permitted:
            why = "not_allowed"
        elif needs and not all(_meets(model, need) for need in needs):
            why = next(need for need in needs if not _meets(model, need))
        elif longest is not None and tokens > longest:
            why = "context"
        elif is_capped and not costs.fit(name, request.dial):
            why = "cost"
        elif not health.is_healthy(name):
            why = "unhealthy"
        if why is None:
            allowed.append(name)
        else:
            excluded.append(MaskedModel(model, why))
    return Masked(tuple(allowed), tuple(excluded))


def refusal(
    masked: Masked, request: RoutingRequest, *, retry_after_s: float, costs: ExpectedCosts = NO_COSTS
) -> GatewayError:
    """The error of a request that no model may answer, for `masked.allowed` being empty.

    PermissionDeniedError if the key's allow-list left nothing; NoHealthyUpstreamError if a model would do and is down,
    with the time after which asking again makes sense; what `costs` refuse with if one would do and is too dear; else
    RequestError that names the need nobody meets.
    """
    permitted = [entry for entry in masked.excluded if entry.why != "not_allowed"]
    if not permitted:
        return PermissionDeniedError("this key may not use any of the models that routing chooses from", param="model")
    if any(entry.why == "unhealthy" for entry in permitted):
        return NoHealthyUpstreamError(
            "every model that could answer this request is down; try again shortly", retry_after_s=retry_after_s
        )
    too_dear = [entry.model.name for entry in permitted if entry.why == "cost"]
    if too_dear:
        return costs.refusal(too_dear, request.dial)
    who = "no served model" if request.allowed_models is None else "no model that this key may use"
    models = [entry.model for entry in permitted]
    for need in sorted(request.needs):
        if not any(_meets(model, need) for model in models):
            return RequestError(f"{who} takes {NEEDS[need]}")
    if any(entry.why == "context" for entry in permitted):
        longest = max(entry.model.context_tokens or 0 for entry in permitted if entry.why == "context")
        return RequestError(
            f"{who} holds a request of this length: about {request.prompt_tokens} prompt tokens and "
            f"{_answer_tokens(request)} to be generated, against a context of at most {longest}"
        )
    return RequestError(f"{who} takes {' and '.join(NEEDS[need] for need in sorted(request.needs))} in one request")


def _meets(model: ModelSettings, need: Need) -> bool:
    if need == "tools":
        return model.tools
    if need == "structured_output":
        return model.structured_output
    return need in model.modalities


def _answer_tokens(request: RoutingRequest) -> int:
    """What the answer takes at least: what the client asked for, else one token."""
    return 1 if request.max_tokens is None else request.max_tokens
