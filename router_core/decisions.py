"""The decision log: one routing decision and how it ended, a JSON object a line.

One schema for the gateway that writes it, the trainer that joins it with labels, and the off-policy estimate of a new
router: it holds what was asked, what could have answered and with which probability, what was chosen with which
propensity, and what came of it. Labels (feedback, verifiers) join by `decision_id`.

Promises: `read_decisions` reads a file, or a folder's files in the order in which they were begun; a last line without
its line feed, which a live file or a killed writer leaves, is passed over; anything else that is no record of
SCHEMA_VERSION is a DecisionLogError that names file and line. A record that is written and read is the same record.
Leaves out the training table: labels come from elsewhere.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from router_core.errors import DecisionLogError

SCHEMA_VERSION: Final = 1
FILE_PATTERN: Final = "decisions-*.jsonl"
CostUnit = Literal["price", "seconds"]
Number = float | None


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model that the policy ranked or that a mask forbade. Fields at their defaults are not written.

    model: its public name.
    probability: calibrated, 0..1, that it answers right; from the bundle. None: the policy has none.
    expected_cost: of this request, in the record's `cost_unit`; estimated before it was sent. None: not known.
    masked: the hard mask that forbade it (`not_allowed`, `image`, `audio`, `tools`, `structured_output`, `context`,
        `cost`, `unhealthy`). None: it might answer.
    is_pending: it has too few probes to be chosen yet.
    """

    model: str
    probability: Number = None
    expected_cost: Number = None
    masked: str | None = None
    is_pending: bool = False


class DecisionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One decision. None stands for what is not known; every field is written.

    schema_version: of this form.
    decision_id: what labels join by; the answer's `x-gateway-decision-id`.
    request_id: the answer's `x-request-id`; the caller's own if it sent one, so not unique.
    time_s: when the request came, Unix time in seconds (UTC), by the gateway's clock.
    endpoint: its path.
    key_id: of the API key; None without keys.
    session: hash of key and `x-session-id`, to keep a conversation's rows together; None without a session.
    requested_model: what the body named: a model, or an alias that means "route this".
    ask: the text that was routed by (router_core.query); None unless the gateway is set to keep texts.
    ask_sha256: hex SHA-256 of the whole ask in UTF-8; None unless the gateway is set to keep hashes.
    ask_characters: length of the whole ask; 0 where the request has no text.
    is_ask_truncated: `ask` is the beginning and the end of the text, half each, without what was between.
    policy: the name of the policy in use.
    bundle_digest: hex digest of the live router bundle; None for a policy without one.
    reason: why `chosen_model` was chosen, a reason of gateway/routing/base.py. That header says `fallback` instead
        once another model than the chosen one answers.
    detail: the reason in words, for `abstained`, `fallback` and `default`; else "".
    chosen_model: the decision's first choice.
    answered_model: the model that answered or was asked last; None if none was asked.
    propensity: probability, over 0 up to 1, that the policy chose `chosen_model` for this request among the models
        that might answer; 1 where nothing was drawn.
    candidates: in the order of the ranking, then those that were only masked; empty for a pinned model.
    confidence: probability of `chosen_model`, 0..1; None where the policy has none.
    novelty: 0..1, how unlike the bundle's training queries the ask is; None where the policy cannot tell.
    quality: the cost-quality dial that held, 0 cost alone to 1 quality alone; None for a pinned model.
    max_cost: the cap on the expected cost that held, in `cost_unit`; None without one.
    cost_unit: unit of expected costs and caps: the currency of the prices, or seconds.
    attempts: replicas asked.
    status: HTTP status of the answer; 499 if the client left.
    outcome: how the request ended, an outcome of gateway/observability/metrics.py.
    error: code of the error that the client was told; None without one.
    is_stream: the answer was an event stream.
    is_cached: the answer had been given to an earlier request; nothing was asked or spent for this one.
    input_tokens, output_tokens: as the model's server counted them; None where it did not.
    cost: of those tokens, in the currency of the model's price; None without price or counts.
    overhead_s: the gateway's own time, from the body's last byte to the last sending upstream.
    first_token_s: from the request's first byte to the first event of a stream.
    duration_s: from the request's first byte to the answer's last.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    decision_id: str
    request_id: str
    time_s: float
    endpoint: str
    key_id: str | None
    session: str | None
    requested_model: str
    ask: str | None
    ask_sha256: str | None
    ask_characters: int
    is_ask_truncated: bool
    policy: str
    bundle_digest: str | None
    reason: str
    detail: str
    chosen_model: str
    answered_model: str | None
    propensity: float
    candidates: tuple[Candidate, ...]
    confidence: Number
    novelty: Number
    quality: Number
    max_cost: Number
    cost_unit: CostUnit
    attempts: int
    status: int
    outcome: str
    error: str | None
    is_stream: bool
    is_cached: bool
    input_tokens: int | None
    output_tokens: int | None
    cost: Number
    overhead_s: Number
    first_token_s: Number
    duration_s: float


class _Version(msgspec.Struct):
    schema_version: int


_decode = msgspec.json.Decoder(DecisionRecord).decode
_encode = msgspec.json.Encoder().encode


def file_name(begun: datetime, process_id: int) -> str:
    """Name of a file of the log; names sort by the time (UTC, to the microsecond) at which their files were begun."""
    return f"decisions-{begun.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{process_id}.jsonl"


def decision_line(record: DecisionRecord) -> bytes:
    """The record as one line, with its line feed. JSON escapes line feeds, so there is no other."""
    return _encode(record) + b"\n"


def read_decisions(path: Path | str) -> Iterator[DecisionRecord]:
    """Every record of a file, or of a folder's files; a line at a time, so a log may be larger than memory.

    Files of several workers overlap in time: sort by `time_s` where the order matters. Raises DecisionLogError.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            yield from _records_of(path)
            return
        for file in sorted(path.glob(FILE_PATTERN)):
            # The gateway drops its oldest files as it goes: one that has vanished meanwhile is no fault of the log.
            with contextlib.suppress(FileNotFoundError):
                yield from _records_of(file)
    except OSError as error:
        raise DecisionLogError(f"{path}: cannot be read: {error.strerror or error}") from error


def _records_of(path: Path) -> Iterator[DecisionRecord]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.endswith(b"\n") and not line.isspace():
                yield _record_of(line, f"{path}:{number}")


def _record_of(line: bytes, place: str) -> DecisionRecord:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        version = _version_of(line)
        if version not in (None, SCHEMA_VERSION):
            told = f"schema_version {version} is not known here, only {SCHEMA_VERSION}; read it with a newer release"
        else:
            told = f"not a decision record: {error}"
        raise DecisionLogError(f"{place}: {told}") from error


def _version_of(line: bytes) -> int | None:
    try:
        return msgspec.json.decode(line, type=_Version).schema_version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
