"""What is known of one request while it is served: the source of its headers, its metrics and its log line."""

import time
from collections.abc import Sequence

import msgspec

from gateway.control.live import Serving
from gateway.errors import GatewayError
from gateway.http.peek import Peek
from gateway.http.usage import Usage
from gateway.routing.base import CacheUse, Decision, RankedModel, Reason, RoutingRequest
from gateway.routing.costs import shown_cost
from gateway.settings import PriceSettings

CLIENT_CLOSED_STATUS = 499
DIGEST_CHARACTERS = 12


class Record(msgspec.Struct):
    """Filled in from stage to stage. `parsed`, `answered` and the like are times of `time.perf_counter`."""

    endpoint: str
    request_id: str
    shows_ranking: bool = False
    began: float = msgspec.field(default_factory=time.perf_counter)
    body_read: float | None = None
    parsed: float | None = None
    sent_upstream: float | None = None
    answered: float | None = None
    first_token: float | None = None
    ended: float | None = None
    key_id: str | None = None
    serving: Serving | None = None
    seen: Peek | None = None
    request: RoutingRequest | None = None
    is_stream: bool = False
    decision: Decision | None = None
    response_cache: CacheUse | None = None
    answering: RankedModel | None = None
    attempts: int = 0
    usage: Usage | None = None
    status: int = 0
    outcome: str = "ok"
    error_code: str | None = None
    limit_headers: Sequence[tuple[str, str]] = ()

    @property
    def model(self) -> str | None:
        """The model that answers, or was asked last."""
        return self.answering.model if self.answering is not None else None

    @property
    def reason(self) -> Reason | None:
        """Why this model answers: `fallback` once another than the choice does."""
        if self.decision is None:
            return None
        is_choice = self.answering is None or self.answering.model == self.decision.choice.model
        return self.decision.reason if is_choice else "fallback"

    @property
    def first_token_s(self) -> float | None:
        """From the request to the first event of its stream."""
        return None if self.first_token is None else self.first_token - self.began

    @property
    def duration_s(self) -> float:
        """From the request to its end, or to now."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.began

    @property
    def began_at_s(self) -> float:
        """Unix time at which the request began."""
        return time.time() - (time.perf_counter() - self.began)

    @property
    def overhead_s(self) -> float | None:
        """The gateway's own time: from the body's last byte to the last sending upstream began."""
        if self.body_read is None or self.sent_upstream is None:
            return None
        return self.sent_upstream - self.body_read

    def failed(self, error: GatewayError, *, has_begun: bool) -> None:
        """Note how the request ended that `error` ended."""
        self.error_code = error.code
        if has_begun:
            self.outcome = "stream_error"
            return
        self.status = error.status
        self.outcome = "upstream_error" if error.status >= 500 else "client_error"

    def client_left(self) -> None:
        """Note that nobody waits any more."""
        self.status, self.outcome = CLIENT_CLOSED_STATUS, "client_closed"

    def headers(self, price: PriceSettings | None = None) -> list[tuple[str, str]]:
        """The gateway's headers, as far as they are known; the cost if there is a price and a count."""
        found = [("x-request-id", self.request_id), *self.limit_headers]
        if self.decision is not None:
            found += self._decision_headers(self.decision)
        if self.response_cache is not None:
            found.append(("x-gateway-cache", self.response_cache))
        if self.overhead_s is not None:
            found.append(("x-gateway-overhead-ms", f"{self.overhead_s * 1000:.2f}"))
        if price is not None and self.usage is not None:
            found.append(("x-gateway-cost", f"{self.usage.cost(price):.9f}"))
        return found

    def _decision_headers(self, decision: Decision) -> list[tuple[str, str]]:
        model = self.answering or decision.choice
        found = [
            ("x-gateway-model", model.model),
            ("x-gateway-decision-id", decision.decision_id),
            ("x-gateway-route-reason", str(self.reason)),
        ]
        if model.confidence is not None:
            found.append(("x-gateway-confidence", f"{model.confidence:.4f}"))
        if decision.bundle_digest is not None:
            found.append(("x-gateway-bundle", decision.bundle_digest[:DIGEST_CHARACTERS]))
        if self.shows_ranking and decision.ranking:
            found.append(("x-gateway-ranking", ", ".join(_shown(ranked) for ranked in decision.ranking)))
        if self.shows_ranking and decision.cache is not None:
            found.append(("x-gateway-decision-cache", decision.cache))
        if self.shows_ranking and decision.novelty is not None:
            found.append(("x-gateway-novelty", f"{decision.novelty:.4f}"))
        return found


def _shown(ranked: RankedModel) -> str:
    """As `alpha=0.8123;cost=0.00042`, with what is known of it."""
    probability = "" if ranked.confidence is None else f"={ranked.confidence:.4f}"
    return ranked.model + probability + ("" if ranked.cost is None else f";cost={shown_cost(ranked.cost)}")
