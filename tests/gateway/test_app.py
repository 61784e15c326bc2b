"""The whole gateway, wired by its composition root, with keys, rules and a stop in the middle."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.__main__ import main
from gateway.app import build_app
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.settings_file import load_settings
from tests.gateway.routing.samples import bundle as neural_bundle
from tests.support.gateway_client import CHAT, chat, metric, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm
from tests.support.serving import serving
from tests.support.settings import make_settings, settings_document, write_settings
from tests.support.small_bundle import small_bundle


@pytest.fixture
def keyed(tmp_path: Path, mock_vllm: MockVllm, capsys: pytest.CaptureFixture[str]) -> tuple[Settings, dict[str, str]]:
    """Settings that ask for keys, and two keys: `all` for every model, `beta` for that one, twice a minute."""
    models = [model_section("alpha", mock_vllm), model_section("beta", mock_vllm)]
    path = write_settings(
        tmp_path / "gateway.yaml",
        models=models,  # type: ignore[arg-type]
        access={"require_keys": True},
        rules=[{"name": "team", "when": {"header": "x-team", "equals": "b"}, "model": "beta"}],  # type: ignore[arg-type]
    )
    keys = {}
    for name, more in {"all": [], "beta": ["--models", "beta", "--requests-per-minute", "2"]}.items():
        assert main(["keys", "create", "--name", name, *more, "--config", str(path)]) == 0
        keys[name] = capsys.readouterr().out.strip()
    return load_settings(path), keys


@contextlib.contextmanager
def asking(settings: Settings, key: str | None) -> Iterator[httpx.Client]:
    with running_gateway(settings) as client:
        if key is not None:
            client.headers["authorization"] = f"Bearer {key}"
        yield client


@pytest.mark.parametrize("key", [None, "wrong", "rdc_0000_0000"])
def test_without_a_good_key_nothing_is_served(keyed: tuple[Settings, dict[str, str]], key: str | None) -> None:
    settings, _ = keyed
    with asking(settings, key) as client:
        for answer in (client.post(CHAT, json=chat()), client.get("/v1/models")):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["x-request-id"]
        assert client.get("/healthz").status_code == 200


def test_a_key_sees_and_uses_what_it_may(keyed: tuple[Settings, dict[str, str]], mock_vllm: MockVllm) -> None:
    settings, keys = keyed
    with asking(settings, keys["all"]) as client:
        assert client.post(CHAT, json=chat()).status_code == 200
        ruled = client.post(CHAT, json=chat("auto"), headers={"x-team": "b"})
        assert (ruled.headers["x-gateway-model"], ruled.headers["x-gateway-route-reason"]) == ("beta", "rule")
    with asking(settings, keys["beta"]) as client:
        listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert listed == ["auto", "beta"]
        refused = client.post(CHAT, json=chat("alpha"))
        assert refused.status_code == 403
        assert refused.headers["x-ratelimit-limit-requests"] == "2"
        limited = client.post(CHAT, json=chat("beta"))
        assert limited.status_code == 429
        assert int(limited.headers["retry-after"]) >= 1
        assert limited.headers["x-ratelimit-remaining-requests"] == "0"
    assert keys["all"] not in json.dumps(mock_vllm.seen())


def test_a_keys_cap_holds_for_every_way_to_a_model(keyed: tuple[Settings, dict[str, str]], mock_vllm: MockVllm) -> None:
    settings, keys = keyed
    document = settings.model_dump()
    for model, figure in zip(document["models"], (0.01, 0.1), strict=True):
        model["seconds_per_token"] = figure
    document["router"]["cost_unit"] = "seconds"
    document["access"]["dials"] = {keys["all"].split("_")[1]: {"max_cost": 5.0}}
    with asking(Settings.model_validate(document), keys["all"]) as client:
        assert client.post(CHAT, json=chat("alpha")).status_code == 200
        refused = client.post(CHAT, json=chat("beta"), headers={"x-gateway-max-cost": "1000"})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "cost_cap_exceeded"
        assert "this key may spend 5 on a request" in refused.json()["error"]["message"]
        assert client.post(CHAT, json=chat("beta", max_tokens=50)).status_code == 200
        ruled = client.post(CHAT, json=chat("auto"), headers={"x-team": "b"})
        assert (ruled.headers["x-gateway-model"], ruled.headers["x-gateway-route-reason"]) == ("alpha", "routed")
        assert client.post(CHAT, json=chat("auto", n=10)).status_code == 403


def test_an_ask_that_was_ranked_before_is_a_hit(tmp_path: Path, mock_vllm: MockVllm) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    models = [model_section(name, mock_vllm, router_name=f"llm-{name[0]}") for name in ("alpha", "beta")]
    router = {"bundle": str(bundle.path), "default_model": "alpha"}
    with running_gateway(make_settings(models=models, router=router)) as client:  # type: ignore[arg-type]
        answers = [client.post(CHAT, json=chat("auto"), headers={"x-gateway-debug": "1"}) for _ in range(3)]
        told = ("x-gateway-model", "x-gateway-route-reason", "x-gateway-ranking", "x-gateway-novelty")
        assert len({tuple(answer.headers[name] for name in told) for answer in answers}) == 1
        assert [answer.headers["x-gateway-decision-cache"] for answer in answers] == ["miss", "hit", "hit"]
        counted = [metric(client, "gateway_decision_cache_total", result=use) for use in ("hit", "miss", "joined")]
        assert counted == [2, 1, 0]


def test_without_its_encoder_a_gateway_serves_and_is_not_ready(tmp_path: Path, mock_vllm: MockVllm) -> None:
    saved = neural_bundle(tmp_path / "bundle")
    models = [model_section(name, mock_vllm, router_name=f"llm-{name[0]}") for name in ("alpha", "beta")]
    settings = make_settings(models=models, router={"bundle": str(saved.path), "default_model": "beta"})  # type: ignore[arg-type]
    app = build_app(settings, encoder_socket=tmp_path / "none")
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post(CHAT, json=chat("auto"))
        assert (answer.status_code, answer.headers["x-gateway-route-reason"]) == (200, "fallback")
        assert answer.headers["x-gateway-model"] == "beta"
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert (ready.json()["router_ready"], ready.json()["encoder_up"]) == (False, False)
        assert metric(client, "gateway_dependency_up", dependency="encoder") == 0


def test_a_part_that_cannot_start_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "control.json"
    file.write_text("not a document", encoding="utf-8")
    app = build_app(make_settings(control={"file": str(file)}))
    sent: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert str(file) in sent[0]["message"]
    assert "\n" not in sent[0]["message"]
    assert app.start_error is not None


def test_a_bad_redis_url_is_a_config_error() -> None:
    document = settings_document(state={"redis_url": "nonsense"})
    with pytest.raises(ConfigError, match=r"state\.redis_url"):
        build_app(Settings.model_validate(document))


def test_two_gateways_in_one_process_do_not_disturb_each_other(mock_vllm: MockVllm) -> None:
    """Nothing is global: not the metrics, not the pool."""
    settings = settings_with([model_section("alpha", mock_vllm)])
    with running_gateway(settings) as first, running_gateway(settings) as second:
        assert first.post(CHAT, json=chat()).status_code == 200
        assert 'outcome="ok"' in first.get("/metrics").text
        assert 'outcome="ok"' not in second.get("/metrics").text
