"""What a request should cost on each model, before it is sent.

    price    (prompt tokens * input price + answer tokens * output price) / 1,000,000, in the currency of the prices
    seconds  answer tokens * seconds_per_token of the model, for a pool of one's own that has no prices

`router.cost_unit` chooses. Prompt tokens are the estimate from below that the context mask takes too; answer tokens are
`router.expected_answer_tokens`, or what the client asked for at most if that is less, for each answer.

Leaves out: what the request did cost, which only the answer's usage tells (`x-gateway-cost`).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Context
from types import MappingProxyType

import msgspec

from gateway.errors import CostCapError, GatewayError, RequestError
from gateway.routing.base import Dial, RoutingRequest
from gateway.settings import COST_OPTIONS, CostUnit, ModelSettings

QUALITY_HEADER = "x-gateway-quality"
MAX_COST_HEADER = "x-gateway-max-cost"
_UNITS: Mapping[CostUnit, str] = MappingProxyType({"price": "in the currency of the prices", "seconds": "seconds"})


class ExpectedCosts(msgspec.Struct, frozen=True):
    """Expected cost of one request by model; a model whose cost is not known is missing."""

    unit: CostUnit
    by_model: Mapping[str, float]

    def fit(self, model: str, dial: Dial) -> bool:
        """True unless the request is capped and the model's cost is above the cap or not known."""
        return dial.cap is None or self.by_model.get(model, float("inf")) <= dial.cap

    def refusal(self, names: Iterable[str], dial: Dial) -> GatewayError:
        """The error of a capped request that none of the models `names` fits.

        CostCapError if the key's cap is in the way of the cheapest one, else RequestError for the client's own.
        """
        known = {name: self.by_model[name] for name in names if name in self.by_model}
        cheapest = min(known, key=known.__getitem__, default=None)
        if cheapest is None:
            told = "and what the model costs is not known"
        else:
            told = (
                f"and the cheapest model that could answer it, {cheapest!r}, is expected to cost "
                f"{_rounded_up(known[cheapest])} {_UNITS[self.unit]}"
            )
        least = float("inf") if cheapest is None else known[cheapest]
        if dial.key_max_cost is not None and least > dial.key_max_cost:
            return CostCapError(f"this key may spend {dial.key_max_cost:g} on a request, {told}")
        return RequestError(
            f"{MAX_COST_HEADER}: this request may cost {dial.max_cost:g}, {told}", param=MAX_COST_HEADER
        )


NO_COSTS = ExpectedCosts("price", MappingProxyType({}))


class Costs:
    """The costs of the configured models in one unit."""

    def __init__(self, models: Sequence[ModelSettings], *, unit: CostUnit, expected_answer_tokens: int) -> None:
        self.unit = unit
        self._names = tuple(model.name for model in models)
        self._expected_answer_tokens = expected_answer_tokens
        # Per model: cost of a prompt token, cost of an answer token.
        self._per_token = {model.name: _per_token(model, unit) for model in models if model.has_cost_in(unit)}

    def unknown_among(self, names: Iterable[str]) -> list[str]:
        """Which of the models have no figure in this unit, in config order."""
        asked = frozenset(names)
        return [name for name in self._names if name in asked and name not in self._per_token]

    def expected(self, request: RoutingRequest) -> ExpectedCosts:
        """What `request` should cost on every model that has a figure."""
        read = request.prompt_tokens + request.further_prompt_tokens
        longest = self._expected_answer_tokens
        written = request.answers * (longest if request.max_tokens is None else min(longest, request.max_tokens))
        return ExpectedCosts(
            self.unit, {name: read * prompt + written * answer for name, (prompt, answer) in self._per_token.items()}
        )

    def refusal_to_weigh(self, header: str, names: Sequence[str]) -> RequestError:
        """The error of a header that needs costs where those of the models `names` are not known."""
        return RequestError(
            f"{header}: this gateway cannot weigh costs, since {names[0]!r} has no {COST_OPTIONS[self.unit]}; "
            "leave the header out",
            param=header,
        )


def shown_cost(cost: float) -> str:
    """A cost in six significant digits."""
    return f"{cost:.6g}"


def _rounded_up(cost: float) -> str:
    """As `shown_cost`, never less than `cost`: a client that takes the figure as its cap is let through."""
    nearest = shown_cost(cost)
    if float(nearest) >= cost:
        return nearest
    return shown_cost(float(Context(prec=6, rounding=ROUND_CEILING).create_decimal_from_float(cost)))


def _per_token(model: ModelSettings, unit: CostUnit) -> tuple[float, float]:
    if unit == "price" and model.price is not None:
        return model.price.input_per_million_tokens / 1e6, model.price.output_per_million_tokens / 1e6
    return 0.0, model.seconds_per_token or 0.0
