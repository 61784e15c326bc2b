"""The list of models, the probes, the documentation, and FastAPI's errors in OpenAI's shape."""

import httpx
import pytest

from tests.support.gateway_client import BODIES, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm


def test_models_are_listed_with_the_alias(gateway: httpx.Client) -> None:
    listed = gateway.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["auto", "alpha", "beta"]
    assert all(model["object"] == "model" and isinstance(model["created"], int) for model in listed["data"])


def test_one_model(gateway: httpx.Client) -> None:
    assert gateway.get("/v1/models/beta").json()["id"] == "beta"
    answer = gateway.get("/v1/models/gamma")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(("path", "alias"), [("/healthz", "/health"), ("/readyz", "/ready")])
def test_probes_have_aliases(gateway: httpx.Client, path: str, alias: str) -> None:
    assert gateway.get(path).status_code == gateway.get(alias).status_code == 200


def test_readiness_needs_a_model(mock_vllm: MockVllm) -> None:
    mock_vllm.behave(healthy=False)
    with running_gateway(settings_with([model_section("alpha", mock_vllm)])) as gateway:
        answer = gateway.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not_ready"
        assert answer.json()["models"] == {"alpha": False}
        assert gateway.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "unknown_path"),
        ("POST", "/v1/images/generations", 404, "unknown_path"),
        ("POST", "/v1//chat/completions", 404, "unknown_path"),
        ("POST", "/V1/chat/completions", 404, "unknown_path"),
        ("POST", "/pause", 404, "unknown_path"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods(
    gateway: httpx.Client, mock_vllm: MockVllm, method: str, path: str, status: int, code: str
) -> None:
    """F29: what is served is exactly what is listed; nothing else reaches an upstream."""
    answer = gateway.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-request-id"]
    assert mock_vllm.seen() == []


def test_the_schema_names_every_endpoint(gateway: httpx.Client) -> None:
    paths = gateway.get("/openapi.json").json()["paths"]
    assert set(BODIES) | {"/v1/models", "/healthz", "/readyz", "/metrics"} <= set(paths)
    assert gateway.get("/docs").status_code == 200


def test_metrics_are_text(gateway: httpx.Client) -> None:
    answer = gateway.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "gateway_upstream_up" in answer.text
