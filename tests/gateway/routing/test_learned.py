import asyncio
import math
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.routing.base import NothingToRouteOnError, RoutingRequest, RoutingUnavailableError
from gateway.routing.learned import Learned
from gateway.routing.registry import build_policy
from router_core.bundle import AbstentionSpec, CalibrationSpec
from router_core.errors import BundleError
from router_core.tensors import FloatArray
from tests.gateway.routing.samples import LocalEncoder, bundle, learned, mapped, model, settings
from tests.support.small_bundle import small_bundle


@pytest.fixture
async def policy(tmp_path: Path) -> Any:
    bundle(tmp_path / "bundle")
    policy = learned(mapped("a", "b", "c"), tmp_path / "bundle")
    await policy.start()
    yield policy
    await policy.aclose()


async def test_it_ranks_all_models_by_similarity_under_their_public_names(policy: Learned) -> None:
    ranking = await policy.rank(RoutingRequest(ask="0.6,0,0.8"))
    assert [entry.model for entry in ranking.models] == ["c", "a", "b"]
    # The bundle's calibration: sigmoid of five times the cosine.
    expected = [1 / (1 + math.exp(-5 * cosine)) for cosine in (0.8, 0.6, 0.0)]
    assert [entry.confidence for entry in ranking.models] == pytest.approx(expected, rel=1e-5)
    assert ranking.novelty == 0.0


async def test_what_is_cut_off_draws_probabilities_towards_the_base_rate(policy: Learned) -> None:
    whole = await policy.rank(RoutingRequest(ask="0.6,0,0.8"))
    cut = await policy.rank(RoutingRequest(ask="0.6,0,0.8 lost 0.5"))
    # Half of the text lost is a quarter of novelty, and every base rate is 0.5.
    assert cut.novelty == pytest.approx(0.25)
    drawn = [0.75 * (entry.confidence or 0) + 0.25 * 0.5 for entry in whole.models]
    assert [entry.confidence for entry in cut.models] == pytest.approx(drawn)


async def test_it_is_ready_with_a_digest_once_started(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    policy = learned(mapped("a"), saved.path)
    assert not policy.is_ready
    assert policy.bundle_digest is None
    with pytest.raises(RoutingUnavailableError, match="no bundle"):
        await policy.rank(RoutingRequest(ask="1,0,0"))
    await policy.start()
    assert policy.is_ready
    assert policy.bundle_digest == saved.digest
    await policy.aclose()
    assert not policy.is_ready


async def test_a_bundle_model_that_nobody_serves_is_left_out(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    policy = learned([*mapped("c", "a"), model("pinned")], saved.path)
    assert policy.models == {"a", "c"}
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="0,1,0.1"))
    await policy.aclose()
    assert [entry.model for entry in ranking.models] == ["c", "a"]


async def test_a_model_with_too_few_probes_is_last_and_says_so(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle", calibration=CalibrationSpec(method="temperature", pending=("llm-b",)))
    policy = learned(mapped("a", "b", "c"), saved.path)
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="0,1,0.1"))
    await policy.aclose()
    assert [(entry.model, entry.is_pending) for entry in ranking.models] == [("c", False), ("a", False), ("b", True)]


async def test_thresholds_come_under_the_public_names_of_served_models(tmp_path: Path) -> None:
    gains = {"llm-a": 0.1, "llm-b": 0.2}
    abstention = AbstentionSpec(max_regret=0.01, thresholds=gains, coverage=gains)
    policy = learned(mapped("a", "c"), bundle(tmp_path / "bundle", abstention=abstention).path)
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="1,0,0"))
    await policy.aclose()
    assert ranking.least_gains == {"a": 0.1}


async def test_a_features_bundle_needs_no_thread_and_no_encoder(tmp_path: Path) -> None:
    def open_encoder(_: object) -> LocalEncoder:
        raise AssertionError("a features bundle has its encoder in it")

    policy = Learned(mapped("a", "b"), small_bundle(tmp_path / "bundle").path, open_encoder)
    await policy.start()
    assert policy.is_ready
    assert policy.encoder_is_up is None
    before = threading.active_count()
    sums = await policy.rank(RoutingRequest(ask="2 + 2 = ?"))
    words = await policy.rank(RoutingRequest(ask="What is love?"))
    strange = await policy.rank(RoutingRequest(ask="什么是爱"))
    assert threading.active_count() == before
    assert [(entry.model, round(entry.confidence or 0, 3)) for entry in sums.models] == [("a", 0.9), ("b", 0.2)]
    assert [(entry.model, round(entry.confidence or 0, 3)) for entry in words.models] == [("b", 0.8), ("a", 0.3)]
    assert (sums.novelty, strange.novelty) == (0.0, pytest.approx(0.95))
    await policy.aclose()
    assert not policy.is_ready


async def test_a_long_ask_of_a_features_bundle_is_novel_by_what_was_left_out(tmp_path: Path) -> None:
    policy = learned(mapped("a", "b"), small_bundle(tmp_path / "bundle", max_bytes=64).path)
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="words " * 100_000))
    await policy.aclose()
    assert ranking.novelty == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("ask", ["\ud800", "\x00", "😀" * 1000, "a" * 2_000_000])
async def test_a_features_bundle_takes_any_text(tmp_path: Path, ask: str) -> None:
    policy = learned(mapped("a", "b"), small_bundle(tmp_path / "bundle").path)
    await policy.start()
    assert {entry.model for entry in (await policy.rank(RoutingRequest(ask=ask))).models} == {"a", "b"}
    await policy.aclose()


async def test_the_time_is_split_between_encoding_and_scoring(tmp_path: Path) -> None:
    ticks = count(10)
    policy = learned(mapped("a"), bundle(tmp_path / "bundle").path, clock=lambda: float(next(ticks)))
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="1,0,0"))
    await policy.aclose()
    assert (ranking.encode_s, ranking.score_s) == (1.0, 1.0)


@pytest.mark.parametrize("ask", ["", " ", "\n\t \u3000", " " * 1_000_000])
async def test_an_ask_without_text_is_nothing_to_route_on(policy: Learned, ask: str) -> None:
    with pytest.raises(NothingToRouteOnError):
        await policy.rank(RoutingRequest(ask=ask))


async def test_an_embedding_that_is_not_finite_is_not_scored(policy: Learned) -> None:
    with pytest.raises(RoutingUnavailableError, match="NaN or infinity"):
        await policy.rank(RoutingRequest(ask="nan,0,0"))
    assert (await policy.rank(RoutingRequest(ask="1,0,0"))).models[0].model == "a"


async def test_an_embedding_of_other_dimensions_is_not_scored(policy: Learned) -> None:
    with pytest.raises(RoutingUnavailableError, match="not the encoder"):
        await policy.rank(RoutingRequest(ask="1,0"))


async def test_an_encoder_that_throws_is_unavailable(policy: Learned) -> None:
    with pytest.raises(RoutingUnavailableError, match=r"the encoder failed \(ValueError\)"):
        await policy.rank(RoutingRequest(ask="no figures"))


async def test_many_requests_at_once_each_get_their_own_ranking(policy: Learned) -> None:
    asks = {"a": "1,0,0", "b": "0,1,0", "c": "0,0,1"}
    names = [name for _ in range(30) for name in asks]
    rankings = await asyncio.gather(*(policy.rank(RoutingRequest(ask=asks[name])) for name in names))
    assert [ranking.models[0].model for ranking in rankings] == names


async def test_an_encoder_that_has_not_answered_leaves_a_policy_that_is_not_ready(tmp_path: Path) -> None:
    class Down(LocalEncoder):
        is_up = False

        async def start(self) -> None:
            return None

        async def encode(self, text: str) -> tuple[FloatArray, float]:
            raise RoutingUnavailableError("the encoder is not loaded")

    policy = learned(mapped("a"), bundle(tmp_path / "bundle").path, encoder=Down())
    await policy.start()
    assert (policy.is_ready, policy.encoder_is_up) == (False, False)
    with pytest.raises(RoutingUnavailableError, match="the encoder is not loaded"):
        await policy.rank(RoutingRequest(ask="1,0,0"))
    await policy.aclose()


async def test_what_was_kept_is_ranked_while_the_encoder_is_down(tmp_path: Path) -> None:
    encoder = LocalEncoder()
    policy = learned(mapped("a", "b", "c"), bundle(tmp_path / "bundle").path, encoder=encoder, cache_entries=10)
    await policy.start()
    known = await policy.rank(RoutingRequest(ask="1,0,0"))
    encoder.encode = LocalEncoder(broken).encode  # type: ignore[method-assign]
    assert (await policy.rank(RoutingRequest(ask="1,0,0"))).models == known.models
    with pytest.raises(RoutingUnavailableError):
        await policy.rank(RoutingRequest(ask="0,1,0"))
    await policy.aclose()


def broken(texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    raise MemoryError


async def test_an_encoder_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    class Refused(LocalEncoder):
        async def start(self) -> None:
            raise ConfigError("other weights")

    policy = learned(mapped("a"), bundle(tmp_path / "bundle").path, encoder=Refused())
    with pytest.raises(ConfigError, match="other weights"):
        await policy.start()


async def test_a_neural_encoder_without_a_process_stops_the_start(tmp_path: Path) -> None:
    router = {"bundle": str(bundle(tmp_path / "bundle").path)}
    policy = build_policy(settings([{"name": "a", "router_name": "llm-a"}], router))
    with pytest.raises(ConfigError, match="only `gateway serve` starts"):
        await policy.start()


async def test_a_bad_bundle_stops_the_start(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    (saved.path / "router.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError, match="truncated or altered"):
        await learned(mapped("a"), saved.path).start()


async def test_a_name_that_the_bundle_does_not_have_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="router_name"):
        await learned(mapped("a", "z"), bundle(tmp_path / "bundle").path).start()
