"""Every option of the gateway, typed and in one file: a YAML document with `version: 1`.

Unknown keys are refused with their path, units stand in the names. settings_file.py reads the document; docs/config.md
is generated from these models.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Modality = Literal["text", "image", "audio"]
PolicyName = Literal["learned", "fixed", "weighted", "random"]
CostUnit = Literal["price", "seconds"]
HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
COST_OPTIONS: Mapping[CostUnit, str] = MappingProxyType({"price": "price", "seconds": "seconds_per_token"})
"""The option of a model that `router.cost_unit` weighs it by."""
ANONYMOUS_KEY: Literal["anonymous"] = "anonymous"
"""In `cache.keys`: whoever asks where no key is asked for."""
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")


class _Section(BaseModel):
    # Infinity and NaN have no JSON: the control document could not be read back.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ServerSettings(_Section):
    """The listening side."""

    host: str = Field("127.0.0.1", description="Address to bind. Anything but loopback needs `access.require_keys`.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind; 0 picks a free one.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes. More than one with limits needs Redis.")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="Largest request body; more is answered 413.")
    body_timeout_s: float = Field(30.0, gt=0, description="Time for a request body to arrive whole.")
    client_stall_timeout_s: float = Field(60.0, gt=0, description="A client that reads nothing for so long is dropped.")
    shutdown_grace_s: float = Field(30.0, ge=0, description="Time running requests have to finish after SIGTERM.")


class ReplicaSettings(_Section):
    """One OpenAI-compatible server that holds the model."""

    base_url: str = Field(description="Root of the server's API with its version, as `http://host:8000/v1`.")
    api_key: SecretStr | None = Field(None, description="Sent upstream as a bearer token. Write it as `${NAME}`.")

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.username or parts.password:
            raise ValueError("credentials do not belong in base_url; use api_key: ${NAME}")
        is_plain = _HEADER_VALUE.fullmatch(value) is not None and not (parts.query or parts.fragment)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain or _port(parts) == 0:
            raise ValueError(f"{value!r} is not an http(s) URL such as http://127.0.0.1:8101/v1")
        return value.rstrip("/")

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _HEADER_VALUE.fullmatch(value.get_secret_value()) is None:
            raise ValueError("is empty or holds a blank, a line break or a letter that no HTTP header can carry")
        return value


class PriceSettings(_Section):
    """What a model costs; any currency, the same for all models."""

    input_per_million_tokens: float = Field(ge=0, description="Price of a million prompt tokens.")
    output_per_million_tokens: float = Field(ge=0, description="Price of a million generated tokens.")


class ModelSettings(_Section):
    """One served model: a base, a fine-tune, a merge or an adapter."""

    name: ModelName = Field(description="The public name clients use.")
    upstream_name: ModelName | None = Field(None, description="The name on the upstream, where it differs.")
    router_name: str | None = Field(None, description="The bundle's name of this model. Absent: pinned-only.")
    replicas: tuple[ReplicaSettings, ...] = Field(min_length=1, description="Servers that hold the model.")
    price: PriceSettings | None = Field(None, description="Absent: no cost is reported for this model.")
    seconds_per_token: float | None = Field(
        None, gt=0, description="Measured time to generate a token; what a model costs where it has no price."
    )
    context_tokens: int | None = Field(None, ge=1, description="Longest prompt plus answer, in tokens.")
    modalities: frozenset[Modality] = Field(frozenset({"text"}), description="What a request may hold.")
    tools: bool = Field(True, description="The model takes tool calls.")
    structured_output: bool = Field(True, description="The model takes response_format and guided decoding.")

    @property
    def served_name(self) -> str:
        """The name the upstream knows the model by."""
        return self.upstream_name or self.name

    def has_cost_in(self, unit: CostUnit) -> bool:
        """True if the model can be weighed by cost in this unit."""
        return getattr(self, COST_OPTIONS[unit]) is not None


class EncoderSettings(_Section):
    """How the query encoder that the bundle names is run, in one process for all workers."""

    device: str = Field("cpu", description="Torch device of the encoder.")
    threads: int = Field(1, ge=1, description="Intra-op threads; a second one rarely helps on a busy host.")
    timeout_s: float = Field(2.0, gt=0, description="A later embedding is given up and the default model answers.")
    max_batch: int = Field(32, ge=1, description="Most queries encoded together.")
    max_queue: int = Field(
        256, ge=1, description="Queries that wait, of all workers; more go to the default model at once."
    )


class RouterSettings(_Section):
    """How `model: "auto"` is decided."""

    aliases: tuple[ModelName, ...] = Field(("auto",), min_length=1, description="Model names that mean: route this.")
    policy: PolicyName = Field("learned", description="Who decides: the bundle, one model, weights or chance.")
    bundle: Path | None = Field(None, description="Folder of the router bundle; policy `learned` needs it.")
    default_model: ModelName = Field(description="Answers when the router cannot decide; the header says why.")
    fixed_model: ModelName | None = Field(None, description="The model of policy `fixed`.")
    weights: dict[ModelName, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="Shares of policy `weighted`; any positive numbers."
    )
    seed: int | None = Field(None, description="Makes `weighted` and `random` repeatable. Absent: fresh each start.")
    session_margin: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A session changes its model only for a gain in confidence (with `quality` below 1, in utility) "
        "above this.",
    )
    session_ttl_s: float = Field(3600.0, gt=0, description="How long an idle session keeps its model.")
    abstain: bool = Field(
        True, description="The default model answers where the bundle says that routing gains too little over it."
    )
    abstain_to: ModelName | None = Field(
        None, description="A stronger model that answers then instead; the default model does while it may not."
    )
    quality: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Weight of quality against cost: utility = quality * probability - (1 - quality) * expected cost / "
        "the largest expected cost among the models that may answer. 1: quality alone, 0: cost alone. A key "
        "(`access.dials`) or the header `x-gateway-quality` sets another.",
    )
    cost_unit: CostUnit = Field(
        "price", description="What costs are: `models[].price`, or `models[].seconds_per_token` of generation."
    )
    expected_answer_tokens: int = Field(
        256, ge=1, description="Length of an answer in expected costs, unless the request allows less."
    )
    decision_cache_entries: int = Field(
        4096, ge=0, description="Asks whose ranking each worker keeps, about a KiB each for ten models; 0 keeps none."
    )
    encoder: EncoderSettings = Field(
        default_factory=EncoderSettings, description="How a neural query encoder runs; a `features` bundle needs none."
    )


class RuleCondition(_Section):
    """When a rule holds: every part that is given must match."""

    header: str | None = Field(None, description="Name of a request header that must be present.")
    equals: str | None = Field(None, description="The value that header must have.")
    key: str | None = Field(None, description="Id of the API key that asks.")
    pattern: str | None = Field(None, description="Regular expression searched in the ask's first 4,096 characters.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.header is None and self.key is None and self.pattern is None:
            raise ValueError("give at least one of header, key, pattern")
        if self.equals is not None and self.header is None:
            raise ValueError("equals needs header")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is not a regular expression: {error}") from None
        return self


class RuleSettings(_Section):
    """A routing rule; rules stand ahead of the router and the first that matches wins."""

    name: str = Field(min_length=1, description="Shown in logs.")
    when: RuleCondition = Field(description="Condition of the rule.")
    model: ModelName = Field(description="The model that answers.")


class DialSettings(_Section):
    """The cost-quality dial of one key."""

    quality: float | None = Field(
        None, ge=0, le=1, description="Instead of `router.quality`; the header `x-gateway-quality` may set another."
    )
    max_cost: float | None = Field(
        None,
        ge=0,
        description="Most that a request may be expected to cost, in `router.cost_unit`; holds for pinned models and "
        "rules too, but not where nothing is generated (embeddings, rerank); a header can only lower it.",
    )

    @property
    def weighs_costs(self) -> bool:
        """True if the dial needs costs."""
        return self.max_cost is not None or (self.quality is not None and self.quality < 1)


class AccessSettings(_Section):
    """Who may ask."""

    require_keys: bool = Field(False, description="Ask for an API key. Must be true off loopback.")
    requests_per_minute: int | None = Field(None, ge=1, description="Limit of a key that has none of its own.")
    dials: dict[KeyId, DialSettings] = Field(
        default_factory=dict, description="Cost-quality dials by key id, as `gateway keys list` shows it, in quotes."
    )


class ControlSettings(_Section):
    """The control document: models, bundle and keys that change while the gateway runs."""

    file: Path | None = Field(
        None,
        description="Where it is kept without Redis. Absent: beside this file, for gateway.yaml as "
        "gateway.control.json.",
    )
    poll_interval_s: float = Field(1.0, gt=0, le=2, description="Time between two looks of a worker at it.")
    api_key_variables: frozenset[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        frozenset(),
        description="Environment variables that its models may send to their servers as `api_key: ${NAME}`; no others.",
    )


class StateSettings(_Section):
    """Where limits, sessions and keys live."""

    redis_url: SecretStr | None = Field(None, description="As `redis://host:6379/0`. Absent: this process's memory.")
    timeout_s: float = Field(0.05, gt=0, description="Longest wait for Redis within a request.")


class UpstreamSettings(_Section):
    """Deadlines and health of the pool."""

    connect_timeout_s: float = Field(5.0, gt=0, description="Time to open a connection.")
    first_byte_timeout_s: float = Field(300.0, gt=0, description="Time from the request to the answer's first byte.")
    idle_timeout_s: float = Field(60.0, gt=0, description="Longest silence within an answer.")
    total_timeout_s: float = Field(
        3600.0, gt=0, description="Time from the request to the answer's last byte, however steadily it trickles."
    )
    max_connections_per_replica: int = Field(512, ge=1, description="Open connections to one replica.")
    max_event_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="Largest single SSE event.")
    max_answer_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Largest non-streaming answer.")
    health_path: str = Field("/health", description="Asked at the server's root; any 2xx is healthy.")
    health_interval_s: float = Field(5.0, gt=0, description="Time between health checks.")
    health_timeout_s: float = Field(2.0, gt=0, description="Deadline of one health check.")
    listing_interval_s: float = Field(
        30.0, gt=0, description="Time between looks at a server's `/v1/models`, which tell what adapters it holds now."
    )
    affinity_header: HeaderName | None = Field(
        "x-session-id", description="Requests with the same value of it go to the same replica. Absent: none do."
    )
    session_load_factor: float | None = Field(
        None,
        ge=1,
        description="A session leaves a replica with more than so many times the mean of requests in flight; "
        "2 is a good value where sessions differ much. Absent: only one that is full or down.",
    )


class LogSettings(_Section):
    """Structured logs, one JSON object a line on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity written.")
    access: bool = Field(True, description="One line per request, without prompts or keys.")


class CacheSettings(_Section):
    """The exact response cache: a key's repeated request is answered from what the model said to it before."""

    keys: tuple[KeyId | Literal["anonymous"], ...] = Field(
        (),
        description="Ids of the keys whose answers are kept, each apart from the others, sampled ones too; `anonymous` "
        "where no keys are asked for. Empty: nothing is kept.",
    )
    ttl_s: float = Field(3600.0, gt=0, description="How long an answer is kept.")
    max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Memory of a worker for answers; in Redis, its own `maxmemory` holds."
    )
    max_entry_bytes: int = Field(256 * 1024, ge=1, description="A larger answer is not kept.")


class DecisionsSettings(_Section):
    """The decision log: one line of JSON per routing decision and how it ended, to learn from."""

    path: Path | None = Field(None, description="Folder of the log's files, on a local disk. Absent: no log is kept.")
    ask: Literal["text", "hash", "none"] = Field(
        "hash",
        description="What is kept of the text that was routed by. Training needs `text`; a SHA-256 tells equal texts "
        "apart from others, and whoever guesses a short one can check the guess.",
    )
    max_ask_characters: int = Field(
        16384, ge=256, description="Of a longer text, its beginning and its end are kept, half each."
    )
    max_file_bytes: int = Field(32 * 1024 * 1024, ge=4096, description="A file's size at which the next one begins.")
    max_files: int = Field(
        64, ge=2, description="Files kept in the folder, of all workers together; the oldest go first."
    )


class Settings(_Section):
    """The whole document."""

    version: Literal[1] = Field(description="Version of this document's form.")
    server: ServerSettings = Field(default_factory=ServerSettings, description="The listening side.")
    models: tuple[ModelSettings, ...] = Field(min_length=1, description="The served models.")
    router: RouterSettings = Field(description="How routing decides.")
    rules: tuple[RuleSettings, ...] = Field((), description="Rules ahead of the router.")
    access: AccessSettings = Field(default_factory=AccessSettings, description="Who may ask.")
    control: ControlSettings = Field(default_factory=ControlSettings, description="What changes at run time.")
    state: StateSettings = Field(default_factory=StateSettings, description="Where shared state lives.")
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings, description="Deadlines and health.")
    log: LogSettings = Field(default_factory=LogSettings, description="Logs.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="The exact response cache.")
    decisions: DecisionsSettings = Field(default_factory=DecisionsSettings, description="The decision log.")

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [model.name for model in self.models]
        known = set(names)
        _refuse(len(known) == len(names), f"models: names must differ: {_repeated(names)}")
        clash = known.intersection(self.router.aliases)
        _refuse(not clash, f"router.aliases: {sorted(clash)} are also names of models")
        router_names = [model.router_name for model in self.models if model.router_name is not None]
        _refuse(len(set(router_names)) == len(router_names), f"models: router_name twice: {_repeated(router_names)}")
        named = {f"router.{key}": getattr(self.router, key) for key in ("default_model", "fixed_model", "abstain_to")}
        named |= {f"router.weights.{name}": name for name in self.router.weights}
        named |= {f"rules[{i}].model": rule.model for i, rule in enumerate(self.rules)}
        for path, name in named.items():
            _refuse(name is None or name in known, f"{path}: {name!r} is not one of models[].name: {sorted(known)}")
        return self

    @model_validator(mode="after")
    def _policy_has_what_it_needs(self) -> Self:
        router = self.router
        _refuse(router.policy != "learned" or router.bundle is not None, "router.bundle: policy learned needs a bundle")
        _refuse(router.policy != "fixed" or router.fixed_model is not None, "router.fixed_model: policy fixed needs it")
        _refuse(router.policy != "weighted" or bool(router.weights), "router.weights: policy weighted needs them")
        return self

    @model_validator(mode="after")
    def _dials_have_costs(self) -> Self:
        dials, unit = self.access.dials, self.router.cost_unit
        _refuse(not dials or self.access.require_keys, "access.dials: are per key, so set access.require_keys: true")
        weighing = ["router.quality"] if self.router.quality < 1 else []
        weighing += [f"access.dials.{key}" for key, dial in dials.items() if dial.weighs_costs]
        if not weighing:
            return self
        routed = self._routed_models()
        for i, model in enumerate(self.models):
            _refuse(
                model.name not in routed or model.has_cost_in(unit),
                f"models[{i}].{COST_OPTIONS[unit]}: {weighing[0]} weighs costs by router.cost_unit: "
                f"{unit}, so every model that is routed to needs it; {model.name!r} has none",
            )
        return self

    def _routed_models(self) -> frozenset[str | None]:
        """The models that a request which names none may go to, but for rules."""
        router = self.router
        ranked: dict[PolicyName, Iterable[str | None]] = {
            "learned": (model.name for model in self.models if model.router_name is not None),
            "fixed": (router.fixed_model,),
            "weighted": router.weights,
            "random": (model.name for model in self.models),
        }
        return frozenset({*ranked[router.policy], router.default_model, router.abstain_to})

    @model_validator(mode="after")
    def _cache_has_its_keys(self) -> Self:
        keys, has_keys = set(self.cache.keys), self.access.require_keys
        _refuse(
            not keys or (has_keys and ANONYMOUS_KEY not in keys) or (not has_keys and keys == {ANONYMOUS_KEY}),
            "cache.keys: give ids of keys where access.require_keys is true, else `anonymous` alone",
        )
        _refuse(
            self.cache.max_entry_bytes <= self.cache.max_bytes,
            "cache.max_entry_bytes: an answer cannot be larger than cache.max_bytes",
        )
        return self

    @model_validator(mode="after")
    def _is_safe_to_serve(self) -> Self:
        exposed = self.server.host not in LOOPBACK_HOSTS
        _refuse(
            not exposed or self.access.require_keys,
            f"server.host: {self.server.host!r} is reachable from outside, so set access.require_keys: true "
            "(and make a key with `gateway keys create`)",
        )
        shared, limit = self.state.redis_url is not None, self.access.requests_per_minute
        _refuse(
            shared or self.server.workers == 1 or not (self.access.require_keys or limit is not None),
            "server.workers: limits per key are exact across workers only with Redis; set state.redis_url or 1 worker",
        )
        _refuse(
            self.decisions.path is None or self.decisions.max_files > self.server.workers,
            "decisions.max_files: each of server.workers writes a file of its own, so there must be more files",
        )
        _refuse(
            limit is None or self.access.require_keys,
            "access.requests_per_minute: requests are counted per key, so set access.require_keys: true",
        )
        return self


def _refuse(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _port(parts: SplitResult) -> int | None:
    """The port, None if there is none, 0 if it is not one."""
    try:
        return parts.port
    except ValueError:
        return 0


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
