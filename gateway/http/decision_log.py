"""Turns a finished request into the decision record of router_core/decisions.py, as `decisions` asks.

Promises: one record for every request that got as far as a decision, pinned ones included, however it ended; texts are
kept only with `ask: text`. Runs after the answer's last byte, so nobody waits for it.
"""

import hashlib
from typing import Final, NamedTuple

from gateway.http.endpoints import ENDPOINTS
from gateway.http.peek import read_ask
from gateway.http.record import Record
from gateway.observability.decision_sink import DecisionSink
from gateway.routing.base import Decision
from gateway.routing.session import session_digest
from gateway.settings import DecisionsSettings
from router_core.decisions import Candidate, DecisionRecord

# Routing did not read the text of a pinned request. To read a longer one now would hold up every other request.
MOST_READ_BYTES: Final = 256 * 1024


class _Ask(NamedTuple):
    text: str | None
    sha256: str | None
    characters: int
    is_truncated: bool


class DecisionLog:
    """Hands records to `sink`."""

    def __init__(self, sink: DecisionSink, settings: DecisionsSettings) -> None:
        self._sink = sink
        self._kind = settings.ask
        self._max_ask_characters = settings.max_ask_characters

    def finished(self, record: Record) -> None:
        """Log the request's decision, if it got one."""
        serving, decision, request, seen = record.serving, record.decision, record.request, record.seen
        if serving is None or decision is None or request is None or seen is None:
            return
        router, price, usage = serving.settings.router, serving.prices.get(record.model), record.usage
        text = request.ask
        if not text and decision.reason == "pinned" and len(seen.body) <= MOST_READ_BYTES:
            text = read_ask(seen, ENDPOINTS[record.endpoint])
        ask = self._ask(text)
        session_id = request.headers.get("x-session-id")
        self._sink.add(
            DecisionRecord(
                decision_id=decision.decision_id,
                request_id=record.request_id,
                time_s=record.began_at_s,
                endpoint=record.endpoint,
                key_id=record.key_id,
                session=None if session_id is None else session_digest(record.key_id, session_id),
                requested_model=seen.model,
                ask=ask.text,
                ask_sha256=ask.sha256,
                ask_characters=ask.characters,
                is_ask_truncated=ask.is_truncated,
                policy=router.policy,
                bundle_digest=decision.bundle_digest,
                reason=decision.reason,
                detail=decision.detail,
                chosen_model=decision.choice.model,
                answered_model=record.model,
                propensity=decision.propensity,
                candidates=() if decision.reason == "pinned" else _candidates(decision),
                confidence=decision.choice.confidence,
                novelty=decision.novelty,
                quality=decision.quality,
                max_cost=request.dial.cap,
                cost_unit=router.cost_unit,
                attempts=record.attempts,
                status=record.status,
                outcome=record.outcome,
                error=record.error_code,
                is_stream=record.is_stream,
                is_cached=record.response_cache in ("hit", "joined"),
                input_tokens=None if usage is None else usage.input_tokens,
                output_tokens=None if usage is None else usage.output_tokens,
                cost=None if usage is None or price is None else usage.cost(price),
                overhead_s=record.overhead_s,
                first_token_s=record.first_token_s,
                duration_s=record.duration_s,
            )
        )

    def _ask(self, text: str) -> _Ask:
        most = self._max_ask_characters
        if self._kind == "hash":
            return _Ask(None, hashlib.sha256(text.encode()).hexdigest() if text else None, len(text), False)
        if self._kind == "none":
            return _Ask(None, None, len(text), False)
        if len(text) <= most:
            return _Ask(text, None, len(text), False)
        return _Ask(text[: most // 2] + text[-(most - most // 2) :], None, len(text), True)


def _candidates(decision: Decision) -> tuple[Candidate, ...]:
    """What was ranked, then what stands behind the ranking, then what was only masked."""
    masks = decision.masks
    entries = {entry.model: entry for entry in decision.ranking}
    for entry in decision.candidates:
        entries.setdefault(entry.model, entry)
    found = [
        Candidate(name, entry.confidence, entry.cost, masks.get(name), entry.is_pending)
        for name, entry in entries.items()
    ]
    if masks:
        found += [Candidate(name, masked=why) for name, why in masks.items() if name not in entries]
    return tuple(found)
