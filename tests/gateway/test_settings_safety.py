"""What could only fail later, within a request, or say too much: refused when the document is read."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.settings_file import load_settings
from tests.support.settings import write_settings


def refusal(tmp_path: Path, environment: dict[str, str] | None = None, **sections: Any) -> str:
    path = write_settings(tmp_path / "gateway.yaml", **sections)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environment or {})
    return str(caught.value)


def one_model(**replica: str) -> list[dict[str, Any]]:
    return [{"name": "alpha", "replicas": [{"base_url": "http://127.0.0.1:1/v1"} | replica]}]


@pytest.mark.parametrize(
    "url", ["http://h:99999/v1", "http://h:abc/v1", "http://h\n/v1", "http://h x/v1", "http://h/ä"]
)
def test_a_url_that_no_client_can_open(tmp_path: Path, url: str) -> None:
    assert "models[0].replicas[0].base_url: " in refusal(tmp_path, models=one_model(base_url=url))


def test_a_password_in_a_wrong_url_is_not_shown(tmp_path: Path) -> None:
    told = refusal(tmp_path, models=one_model(base_url="http://user:hunter2@h/v1?x=1"))
    assert "credentials do not belong" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("key", ["sk-hunter2\n", "", "sk-hünter2", "sk hunter2"])
def test_an_upstream_key_that_no_header_can_carry(tmp_path: Path, key: str) -> None:
    told = refusal(tmp_path, {"KEY": key}, models=one_model(api_key="${KEY}"))
    assert "models[0].replicas[0].api_key: " in told
    assert "nter2" not in told


def test_bad_yaml_is_placed_but_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\napi_key: hunter2: [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML: line 2, column 17: ") as caught:
        load_settings(path, {})
    assert "hunter2" not in str(caught.value)


def test_a_limit_without_keys_would_limit_nobody(tmp_path: Path) -> None:
    told = refusal(tmp_path, access={"requests_per_minute": 60})
    assert "access.requests_per_minute: " in told
    assert "require_keys" in told


def test_workers_with_a_limit_need_redis_before_anything_else(tmp_path: Path) -> None:
    assert "server.workers: " in refusal(tmp_path, access={"requests_per_minute": 60}, server={"workers": 2})
