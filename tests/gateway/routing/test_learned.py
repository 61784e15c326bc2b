import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.errors import ConfigError
from gateway.observability.logs import JsonFormatter
from gateway.routing.base import NothingToRouteOnError, RoutingRequest, RoutingUnavailableError
from gateway.routing.batching import FloatArray
from gateway.routing.learned import Learned
from router_core.errors import BundleError
from tests.gateway.routing.samples import bundle, learned, mapped, model

EncodeFunction = Callable[[Sequence[str]], FloatArray]


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
    # Softmax of the cosines over the bundle's confidence temperature, 0.2.
    powers = np.exp(np.array([0.8, 0.6, 0.0]) / 0.2)
    assert [entry.confidence for entry in ranking.models] == pytest.approx(powers / powers.sum(), rel=1e-5)


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


async def test_a_bundle_model_that_nobody_serves_is_left_out_and_keeps_its_share(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    policy = learned([*mapped("c", "a"), model("pinned")], saved.path)
    assert policy.models == {"a", "c"}
    await policy.start()
    ranking = await policy.rank(RoutingRequest(ask="0,1,0.1"))
    await policy.aclose()
    assert [entry.model for entry in ranking.models] == ["c", "a"]
    assert sum(entry.confidence or 0 for entry in ranking.models) < 0.1


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


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'torch'"), RuntimeError("CUDA out of memory"), OSError("no folder")]
)
async def test_an_encoder_that_does_not_load_leaves_a_policy_that_is_not_ready(
    tmp_path: Path, caplog: Any, error: Exception
) -> None:
    def load(*_: object) -> EncodeFunction:
        raise error

    policy = learned(mapped("a"), bundle(tmp_path / "bundle").path, load_encoder=load)
    with caplog.at_level(logging.INFO):
        await policy.start()
    assert not policy.is_ready
    with pytest.raises(RoutingUnavailableError, match="the encoder is not loaded"):
        await policy.rank(RoutingRequest(ask="1,0,0"))
    await policy.aclose()
    line = json.loads(JsonFormatter().format(caplog.records[0]))
    assert line["event"] == "encoder_missing"
    assert str(error) in line["error"]


async def test_an_encoder_that_is_not_the_bundles_stops_the_start(tmp_path: Path) -> None:
    def load(*_: object) -> EncodeFunction:
        raise BundleError("other weights")

    policy = learned(mapped("a"), bundle(tmp_path / "bundle").path, load_encoder=load)
    with pytest.raises(BundleError, match="other weights"):
        await policy.start()


async def test_a_bad_bundle_stops_the_start(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    (saved.path / "router.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError, match="truncated or altered"):
        await learned(mapped("a"), saved.path).start()


async def test_a_name_that_the_bundle_does_not_have_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="router_name"):
        await learned(mapped("a", "z"), bundle(tmp_path / "bundle").path).start()
