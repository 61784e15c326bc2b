"""One gateway for the tests that need no settings of their own."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway_client import model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm

PRICE = {"input_per_million_tokens": 10, "output_per_million_tokens": 100}


@pytest.fixture(scope="package")
def package_gateway(mock_vllm_process: MockVllm) -> Iterator[httpx.Client]:
    mock = mock_vllm_process
    models = [
        model_section("alpha", mock, price=PRICE),
        model_section("beta", mock, upstream_name="beta-upstream"),
    ]
    models[1]["replicas"][0]["api_key"] = "upstream-secret"
    server = {"max_body_bytes": 64 * 1024, "body_timeout_s": 1.0}
    upstream = {"idle_timeout_s": 1.0, "first_byte_timeout_s": 2.0, "max_event_bytes": 4096, "max_answer_bytes": 8192}
    # Only the first check counts: on a busy machine a mock that is late for one must not take the model away.
    upstream["health_interval_s"] = 3600
    with running_gateway(settings_with(models, server=server, upstream=upstream)) as client:
        yield client


@pytest.fixture
def gateway(package_gateway: httpx.Client, mock_vllm: MockVllm) -> httpx.Client:
    """A client of a gateway before `mock_vllm`, with short deadlines and low limits; model alpha has a price."""
    return package_gateway
