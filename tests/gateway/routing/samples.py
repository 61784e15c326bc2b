"""What the routing tests are made of: a small pool, its bundle, and an encoder whose embeddings one can read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.errors import StateUnavailableError
from gateway.routing.abstention import Abstention
from gateway.routing.base import Policy, RankedModel, Ranking, RoutingRequest, RoutingUnavailableError
from gateway.routing.batching import EncodeFunction
from gateway.routing.costs import Costs
from gateway.routing.learned import Learned
from gateway.routing.router import Router
from gateway.routing.rules import Rules
from gateway.routing.session import Sessions
from gateway.settings import CostUnit, ModelSettings, RuleSettings, Settings
from gateway.state.base import State
from gateway.state.memory import MemoryState
from router_core.bundle import CalibrationSpec, RouterBundle, ScorerSpec, SentenceEncoderSpec, save_bundle
from router_core.tensors import FloatArray

REPLICA = {"base_url": "http://127.0.0.1:9/v1"}


def model(name: str, **options: Any) -> ModelSettings:
    return ModelSettings.model_validate({"name": name, "replicas": [REPLICA]} | options)


def mapped(*names: str) -> list[ModelSettings]:
    """Models that the bundle knows as `llm-<name>`."""
    return [model(name, router_name=f"llm-{name}") for name in names]


def settings(models: Sequence[dict[str, Any]], router: dict[str, Any], **sections: Any) -> Settings:
    document = {
        "version": 1,
        "models": [{"replicas": [REPLICA]} | entry for entry in models],
        "router": {"default_model": models[0]["name"]} | router,
    }
    return Settings.model_validate(document | sections)


def rule(name: str, model: str, **when: str) -> RuleSettings:
    return RuleSettings.model_validate({"name": name, "when": when, "model": model})


def bundle(path: Path, names: Sequence[str] = ("llm-a", "llm-b", "llm-c"), **changes: Any) -> RouterBundle:
    """A bundle with a neural encoder, where model i likes the i-th axis.

    The cosine of an ask to model i is the ask's i-th figure, its probability sigmoid(5 * cosine), and every base rate
    0.5. No vector is novel, so only text that was cut off is.
    """
    count = len(names)
    arguments: dict[str, Any] = {
        "models": list(names),
        "encoder": SentenceEncoderSpec(name="figures", digest="0" * 64, dimensions=count, max_tokens=16),
        "scorer": ScorerSpec(name="routerdc"),
        "calibration": CalibrationSpec(method="temperature"),
        "tensors": {
            "scorer.llm_embeddings": np.eye(count, dtype=np.float32),
            "calibration.slope": np.full(count, 5.0, dtype=np.float32),
            "calibration.bias": np.zeros(count, dtype=np.float32),
            "novelty.centroids": np.zeros((1, count), dtype=np.float32),
            "novelty.scale": np.zeros(count, dtype=np.float32),
            "novelty.bounds": np.array([1.0, 2.0], dtype=np.float32),
            "novelty.base_rates": np.full(count, 0.5, dtype=np.float32),
        },
    }
    return save_bundle(path, **arguments | changes)


def read_figures(texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """The stand-in encoder: "0.6,0.8,0" is the embedding (0.6, 0.8, 0), of which "0.6,0.8,0 lost 0.5" has lost half."""
    parts = [text.partition(" lost ") for text in texts]
    rows = np.array([[float(figure) for figure in figures.split(",")] for figures, _, _ in parts], dtype=np.float32)
    return rows, np.array([float(lost or 0) for _, _, lost in parts], dtype=np.float32)


class LocalEncoder:
    """A neural encoder without its process: an encode function, called at once."""

    is_up = True

    def __init__(self, encode: EncodeFunction = read_figures) -> None:
        self._encode = encode
        self.has_answered = False

    async def start(self) -> None:
        self.has_answered = True

    async def encode(self, text: str) -> tuple[FloatArray, float]:
        try:
            vectors, lost = self._encode([text])
        except Exception as error:
            raise RoutingUnavailableError(f"the encoder failed ({type(error).__name__})") from error
        return vectors[0], float(lost[0])

    async def aclose(self) -> None:
        self.has_answered = False


def learned(models: Sequence[ModelSettings], path: Path, **options: Any) -> Learned:
    """The policy; `encoder` takes the place of the one that reads figures."""
    encoder = options.pop("encoder", None) or LocalEncoder()
    return Learned(models, path, lambda bundle: encoder, **options)


class Pool:
    """Health that a test can change."""

    def __init__(self, down: Iterable[str] = ()) -> None:
        self.down = set(down)

    def is_healthy(self, model: str) -> bool:
        return model not in self.down


class BrokenState(MemoryState):
    """A store that does not answer, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def get(self, name: str) -> bytes | None:
        self.calls += 1
        raise StateUnavailableError("no answer")

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        self.calls += 1
        raise StateUnavailableError("no answer")


class Scripted:
    """A policy whose next answer a test sets: a ranking or an error. `least_gains` are its bundle's thresholds."""

    is_ready = True
    encoder_is_up: bool | None = None
    bundle_digest: str | None = None

    def __init__(
        self, models: Iterable[str], answer: Sequence[RankedModel] | Exception = (), **least_gains: float
    ) -> None:
        self.models = frozenset(models)
        self.answer = answer
        self.least_gains = least_gains

    async def start(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    async def rank(self, request: RoutingRequest) -> Ranking:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Ranking(tuple(self.answer), least_gains=self.least_gains)


def ranked(**confidences: float) -> list[RankedModel]:
    """`ranked(a=0.9, b=0.1)`: a before b."""
    return [RankedModel(name, confidence) for name, confidence in confidences.items()]


def router(
    models: Sequence[ModelSettings],
    policy: Policy,
    *,
    default: str | None = None,
    rules: Sequence[RuleSettings] = (),
    pool: Pool | None = None,
    state: State | None = None,
    margin: float = 0.1,
    quality: float = 1.0,
    unit: CostUnit = "seconds",
    abstain_to: str | None = None,
    abstains: bool = True,
) -> Router:
    default = default or models[0].name
    return Router(
        models=models,
        aliases=["auto"],
        default_model=default,
        rules=Rules(rules),
        sessions=Sessions(MemoryState() if state is None else state, margin=margin, ttl_s=60.0),
        policy=policy,
        health=pool or Pool(),
        retry_after_s=5.0,
        costs=Costs(models, unit=unit, expected_answer_tokens=100),
        quality=quality,
        abstention=Abstention(default, abstain_to) if abstains else None,
    )
