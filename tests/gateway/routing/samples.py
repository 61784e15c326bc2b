"""What the routing tests are made of: a small pool, its bundle, and an encoder whose embeddings one can read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.errors import StateUnavailableError
from gateway.routing.base import Policy, RankedModel, Ranking, RoutingRequest
from gateway.routing.batching import EncodeFunction, FloatArray
from gateway.routing.learned import Learned
from gateway.routing.router import Router
from gateway.routing.rules import Rules
from gateway.routing.session import Sessions
from gateway.settings import EncoderSettings, ModelSettings, RuleSettings, Settings
from gateway.state.base import State
from gateway.state.memory import MemoryState
from router_core.bundle import EncoderSpec, RouterBundle, RouterWeights, save_bundle

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
    """Model i likes the i-th axis: the cosine of an ask to it is the ask's i-th figure."""
    arguments: dict[str, Any] = {
        "models": list(names),
        "encoder": EncoderSpec(name="figures", digest="0" * 64, dimensions=len(names), max_tokens=16),
        "weights": RouterWeights(llm_embeddings=np.eye(len(names), dtype=np.float32)),
        "temperature": 1.0,
        "confidence_temperature": 0.2,
    }
    return save_bundle(path, **arguments | changes)


def read_figures(texts: Sequence[str]) -> FloatArray:
    """The stand-in encoder: "0.6,0.8,0" is the embedding (0.6, 0.8, 0)."""
    return np.array([[float(figure) for figure in text.split(",")] for text in texts], dtype=np.float32)


def load_figures(bundle: RouterBundle, settings: EncoderSettings) -> EncodeFunction:
    return read_figures


def learned(models: Sequence[ModelSettings], path: Path, **options: Any) -> Learned:
    encoder = EncoderSettings.model_validate(options.pop("encoder", {}))
    return Learned(models, path, encoder, **{"load_encoder": load_figures} | options)


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
    """A policy whose next answer a test sets: a ranking or an error."""

    is_ready = True
    bundle_digest: str | None = None

    def __init__(self, models: Iterable[str], answer: Sequence[RankedModel] | Exception = ()) -> None:
        self.models = frozenset(models)
        self.answer = answer

    async def start(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    async def rank(self, request: RoutingRequest) -> Ranking:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Ranking(tuple(self.answer))


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
) -> Router:
    return Router(
        models=models,
        aliases=["auto"],
        default_model=default or models[0].name,
        rules=Rules(rules),
        sessions=Sessions(MemoryState() if state is None else state, margin=margin, ttl_s=60.0),
        policy=policy,
        health=pool or Pool(),
        retry_after_s=5.0,
    )
