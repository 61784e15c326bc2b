import json
from pathlib import Path

import pytest

from benchmarks.gateways import ours
from benchmarks.gateways.base import Place
from benchmarks.gateways.installation import InstallationError
from gateway.settings import Settings
from tests.support.small_bundle import small_bundle


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "installed", tmp_path, 8123, "http://127.0.0.1:9000", "redis://127.0.0.1:6380/0")


@pytest.mark.parametrize(("redis", "workers"), [(False, 1), (True, 1), (True, 2)])
def test_the_configuration_is_one_that_the_gateway_takes(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis: bool, workers: int
) -> None:
    small_bundle(tmp_path / "router", models=("org/llm-a", "llm-b"))
    monkeypatch.setattr(ours, "BUNDLE", tmp_path / "router")
    document = ours.settings_document(place, redis=redis, workers=workers)
    settings = Settings.model_validate(json.loads(json.dumps(document)))
    assert [model.name for model in settings.models] == ["org/llm-a", "llm-b", "mock"]
    assert settings.access.require_keys
    assert settings.access.requests_per_minute is not None
    assert settings.decisions.path is not None
    assert not settings.log.access
    assert (settings.state.redis_url is not None) == redis
    assert settings.server.workers == workers


def test_a_missing_router_is_named(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ours, "BUNDLE", tmp_path / "none")
    with pytest.raises(InstallationError, match="`make router` trains it"):
        ours.settings_document(place, redis=False, workers=1)
