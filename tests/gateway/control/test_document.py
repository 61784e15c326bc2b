"""What the control document makes of the configuration, and what it may not hold."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.access.keys import new_key
from gateway.control.document import ControlDocument, effective
from gateway.errors import ConfigError
from tests.support.settings import make_settings

URL = "http://127.0.0.1:9/v1"
CONFIGURED = make_settings()


def entry(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, "replicas": [{"base_url": URL}], **parts}


def test_the_empty_document_leaves_the_configuration_as_it_is() -> None:
    document = ControlDocument(version=3, keys=(new_key("alice").record,))
    assert effective(CONFIGURED, document) is CONFIGURED


def test_models_are_replaced_in_their_place_added_and_removed() -> None:
    document = ControlDocument(models=(entry("gamma"), entry("alpha", tools=False)), removed_models=("beta", "gone"))
    alpha, gamma = effective(CONFIGURED, document).models
    assert (alpha.name, alpha.tools, alpha.replicas[0].base_url) == ("alpha", False, URL)
    assert gamma.name == "gamma"


def test_api_keys_come_from_the_environment() -> None:
    replicas = [{"base_url": URL, "api_key": "${POOL_API_KEY}"}]
    document = ControlDocument(models=(entry("gamma", replicas=replicas),))
    configured = make_settings(control={"api_key_variables": ["POOL_API_KEY"]})
    key = effective(configured, document, {"POOL_API_KEY": "sk-1"}).models[-1].replicas[0].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
    assert "sk-1" not in document.model_dump_json()
    with pytest.raises(ConfigError, match="variable POOL_API_KEY is not set"):
        effective(configured, document, {})
    with pytest.raises(ConfigError, match="api_key_variables does not list POOL_API_KEY"):
        effective(CONFIGURED, document, {"POOL_API_KEY": "sk-1"})


@pytest.mark.parametrize("key", ["sk-1", "x${POOL_API_KEY}", "${POOL-API-KEY}"])
def test_secrets_are_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValidationError, match="api_key_variables") as caught:
        ControlDocument(models=(entry("gamma", replicas=[{"base_url": URL, "api_key": key}]),))
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"models": [entry("a"), entry("a")]}, "models: twice: a"),
        ({"models": [entry("a")], "removed_models": ["a"]}, "models: twice: a"),
        ({"models": [entry("../a")]}, "name"),
        ({"models": [entry("a", surprise=1)]}, "surprise: unknown key"),
        ({"models": [{"name": "a"}]}, "replicas"),
        ({"removed_models": ["/etc"]}, "removed_models"),
        ({"bundle": {"path": "somewhere", "digest": "0" * 64}}, "absolute"),
        ({"bundle": {"path": "/somewhere", "digest": "short"}}, "digest"),
        ({"version": -1}, "version"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_no_document_is_refused(parts: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ControlDocument.model_validate(parts)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"removed_models": ["alpha"]}, "router.default_model: 'alpha'"),
        ({"models": [entry("auto")]}, "router.aliases"),
        ({"bundle": {"path": "/somewhere", "digest": "0" * 64}}, "policy is fixed"),
    ],
)
def test_what_does_not_go_with_the_configuration_is_refused(parts: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        effective(CONFIGURED, ControlDocument.model_validate(parts))
