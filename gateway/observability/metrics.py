"""Prometheus metrics with closed label sets.

Promises: whatever clients send, the number of series is bounded by the configuration: a model that is not configured,
an endpoint, outcome, reason, stage or status that is not in the lists below counts as "other". Its own registry, never
the library's global one. With PROMETHEUS_MULTIPROC_DIR set (more than one worker) every worker writes there and any
worker renders the sum over all of them.
Leaves out per-key metrics: keys come and go, series do not. docs/operations.md lists what is here; a test compares
them.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.observability.tallies import Durations, Family, Tally, counter_family, histogram_family
from gateway.routing.base import CACHE_USES, REASONS, CacheUse

OTHER: Final = "other"
ENDPOINTS: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/models",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/score",
    "/v1/score",
    "/tokenize",
    "/detokenize",
)
OUTCOMES: Final = ("ok", "client_error", "upstream_error", "stream_error", "client_closed")
STAGES: Final = ("parse", "encode", "score", "upstream")
DIRECTIONS: Final = ("input", "output")
DEPENDENCIES: Final = ("redis", "encoder")
ResponseCacheUse = Literal["hit", "miss", "joined", "stored"]
RESPONSE_CACHE_USES: Final[tuple[ResponseCacheUse, ...]] = get_args(ResponseCacheUse)
DecisionLoss = Literal["queue_full", "disk_full", "unwritable"]
DECISION_LOSSES: Final[tuple[DecisionLoss, ...]] = get_args(DecisionLoss)
STATUSES: Final = (200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 499, 500, 501, 502, 503, 504)
_SHOWN_STATUSES: Final = {status: str(status) for status in STATUSES}

# How often a worker hands over what it counted, for the others to see.
HAND_OVER_S: Final = 1.0
DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
# From 50 microseconds; the last three are for the wait on the upstream and for an encoder in trouble.
OVERHEAD_BUCKETS_S: Final = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1, 10, 60,
)  # fmt: skip
FIRST_TOKEN_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60)


class Metrics:
    """What the gateway counts. `models` are the configured public names. Every method is synchronous and cheap."""

    def __init__(self, models: Sequence[str], registry: CollectorRegistry | None = None) -> None:
        self._models = frozenset(models)
        self._registry = CollectorRegistry() if registry is None else registry
        self._bundle: tuple[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        own = self._registry
        self._families: list[Family[Tally] | Family[Durations]] = []
        self._requests = self._counter(
            "gateway_requests_total",
            "Requests answered, by how they ended.",
            ["endpoint", "model", "status", "outcome"],
        )
        self._duration = self._histogram(
            "gateway_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ["endpoint", "model"],
            DURATION_BUCKETS_S,
        )
        self._decisions = self._counter(
            "gateway_decisions_total", "Routing decisions, by model chosen and reason.", ["model", "reason"]
        )
        cached = self._counter(
            "gateway_decision_cache_total",
            "Asks looked up in the decision cache: kept (hit), ranked (miss), or ranked for another request (joined).",
            ["result"],
        )
        self._cached = {use: cached.open(use) for use in CACHE_USES}
        responses = self._counter(
            "gateway_response_cache_total",
            "Requests of keys with a response cache: answered from it (hit), with an answer that was being given to "
            "another (joined) or by the model (miss); answers stored.",
            ["result"],
        )
        self._response_cached = {use: responses.open(use) for use in RESPONSE_CACHE_USES}
        self._overhead = self._histogram(
            "gateway_overhead_seconds",
            "Time a request spent in one stage: parse, encode and score are the gateway's own.",
            ["stage"],
            OVERHEAD_BUCKETS_S,
        )
        self._first_token = self._histogram(
            "gateway_time_to_first_token_seconds",
            "Time from a streaming request to the first token relayed.",
            ["model"],
            FIRST_TOKEN_BUCKETS_S,
        )
        self._tokens = self._counter("gateway_tokens_total", "Tokens that upstreams reported.", ["model", "direction"])
        # No tally: it is counted in a thread, and seldom enough for the library's lock.
        self._decisions_lost = Counter(
            "gateway_decisions_lost_total", "Decisions that the decision log lost.", ["reason"], registry=own
        )
        for reason in DECISION_LOSSES:
            # At 0 from the start, so that the first loss is seen as a rise.
            self._decisions_lost.labels(reason)
        # A worker that sees a replica or Redis down is the one to listen to, hence the minimum over live workers.
        self._upstream_up = Gauge(
            "gateway_upstream_up",
            "1 if the replica answers its health check, else 0.",
            ["model", "replica"],
            registry=own,
            multiprocess_mode="livemin",
        )
        self._upstream_lists_model = Gauge(
            "gateway_upstream_lists_model",
            "0 if the replica's server says what it serves and the model is not among it, else 1.",
            ["model", "replica"],
            registry=own,
            multiprocess_mode="livemin",
        )
        self._dependency_up = Gauge(
            "gateway_dependency_up",
            "1 if the dependency answers, else 0.",
            ["dependency"],
            registry=own,
            multiprocess_mode="livemin",
        )
        self._control_version = Gauge(
            "gateway_control_version",
            "Version of the control document in effect, of the worker that is furthest behind.",
            registry=own,
            multiprocess_mode="livemin",
        )
        self._control_refused = Gauge(
            "gateway_control_refused",
            "1 if the newest control document is kept out because it will not do, else 0.",
            registry=own,
            multiprocess_mode="livemax",
        )
        self._bundle_info = Gauge(
            "gateway_bundle_info",
            "1 for the router bundle and policy in use; 0 for one used earlier by this process.",
            ["digest", "policy"],
            registry=own,
            multiprocess_mode="livemax",
        )

    def start(self) -> None:
        """With several workers, hand over now and then what was counted; with one, rendering does."""
        if _is_shared():
            self._timer = asyncio.get_running_loop().call_later(HAND_OVER_S, self.start)
            self._hand_over()

    def aclose(self) -> None:
        """Hand over what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over()

    def request_finished(self, endpoint: str, model: str | None, status: int, outcome: str, duration_s: float) -> None:
        """Count one answered request. `model` is the model that answered, None if none did."""
        shown_status, model = _SHOWN_STATUSES.get(status, OTHER), OTHER if model is None else model
        requests = self._requests.get((endpoint, model, shown_status, outcome))
        duration = self._duration.get((endpoint, model))
        if requests is None or duration is None:
            endpoint, model = _closed(endpoint, ENDPOINTS), self._model(model)
            requests = self._requests.open(endpoint, model, shown_status, _closed(outcome, OUTCOMES))
            duration = self._duration.open(endpoint, model)
        requests.count += 1
        duration.add(duration_s)

    def decided(self, model: str, reason: str) -> None:
        """Count one routing decision."""
        decisions = self._decisions.get((model, reason))
        if decisions is None:
            decisions = self._decisions.open(self._model(model), _closed(reason, REASONS))
        decisions.count += 1

    def looked_up(self, use: CacheUse) -> None:
        """Count one look into the decision cache."""
        self._cached[use].count += 1

    def response_cached(self, use: ResponseCacheUse) -> None:
        """Count one use of the response cache."""
        self._response_cached[use].count += 1

    def overhead(self, stage: str, seconds: float) -> None:
        """Record the time that one request spent in `stage`."""
        (self._overhead.get((stage,)) or self._overhead.open(_closed(stage, STAGES))).add(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        """Record the time to the first token of a stream."""
        (self._first_token.get((model,)) or self._first_token.open(self._model(model))).add(seconds)

    def tokens(self, model: str, direction: str, count: int) -> None:
        """Add tokens that the upstream reported; a `count` below zero is the upstream's mistake and adds nothing."""
        if count > 0:
            tokens = self._tokens.get((model, direction))
            if tokens is None:
                tokens = self._tokens.open(self._model(model), _closed(direction, DIRECTIONS))
            tokens.count += count

    def decisions_lost(self, reason: DecisionLoss, count: int) -> None:
        """Count decisions that the decision log lost. May be called from any thread."""
        self._decisions_lost.labels(_closed(reason, DECISION_LOSSES)).inc(count)

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        """Set the health of one replica."""
        self._upstream_up.labels(self._model(model), str(replica_index)).set(int(is_healthy))

    def upstream_lists_model(self, model: str, replica_index: int, is_listed: bool) -> None:
        """Set whether a replica's server lists the model."""
        self._upstream_lists_model.labels(self._model(model), str(replica_index)).set(int(is_listed))

    def upstream_gone(self, model: str, replica_index: int) -> None:
        """Forget a replica that is not served any more. Shared files cannot forget: there it counts as up."""
        for gauge in (self._upstream_up, self._upstream_lists_model):
            if _is_shared():
                gauge.labels(self._model(model), str(replica_index)).set(1)
            else:
                with contextlib.suppress(KeyError):
                    gauge.remove(self._model(model), str(replica_index))

    def dependency_up(self, name: str, is_up: bool) -> None:
        """Set whether a dependency (redis, encoder) answers."""
        self._dependency_up.labels(_closed(name, DEPENDENCIES)).set(int(is_up))

    def serve(self, version: int, models: Sequence[str]) -> None:
        """Name what is served by which version of the control document; a model keeps its series when it goes."""
        self._models |= frozenset(models)
        self._control_version.set(version)

    def control_refused(self, is_refused: bool) -> None:
        """Set whether the newest control document is kept out."""
        self._control_refused.set(int(is_refused))

    def bundle(self, digest: str | None, policy: str) -> None:
        """Name the bundle in use (its first 12 hex characters are shown; None for a policy without one)."""
        live = ((digest or "none")[:12], policy)
        if self._bundle is not None and self._bundle != live:
            self._bundle_info.labels(*self._bundle).set(0)
        self._bundle_info.labels(*live).set(1)
        self._bundle = live

    def render(self) -> tuple[bytes, str]:
        """The text exposition and its content type."""
        self._hand_over()
        return generate_latest(self._source()), CONTENT_TYPE_LATEST

    def _source(self) -> CollectorRegistry:
        if not _is_shared():
            return self._registry
        _forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together

    def _counter(self, name: str, meaning: str, labels: list[str]) -> Family[Tally]:
        family = counter_family(Counter(name, meaning, labels, registry=self._registry))
        self._families.append(family)
        return family

    def _histogram(self, name: str, meaning: str, labels: list[str], bounds_s: Sequence[float]) -> Family[Durations]:
        histogram = Histogram(name, meaning, labels, buckets=bounds_s, registry=self._registry)
        family = histogram_family(histogram, bounds_s)
        self._families.append(family)
        return family

    def _hand_over(self) -> None:
        for family in self._families:
            family.hand_over()

    def _model(self, name: str) -> str:
        return name if name in self._models else OTHER


def _is_shared() -> bool:
    # The library itself decides by this variable where values are kept, so this is no setting of ours.
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _forget_dead_workers(folder: Path) -> None:
    """Drop the live gauges of workers that have died: what they saw last is not what is."""
    for worker in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            # Another worker may be doing the same at this moment.
            with contextlib.suppress(FileNotFoundError):
                mark_process_dead(worker)  # type: ignore[no-untyped-call]


def _closed(value: str, allowed: Sequence[str]) -> str:
    return value if value in allowed else OTHER
