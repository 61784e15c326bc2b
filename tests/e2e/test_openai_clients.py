"""The official clients, unchanged, talking to a gateway: Python's `openai` and npm's `openai`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.gateway_client import model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm

NODE = Path(__file__).parent / "node"
MESSAGES = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def gateway(mock_vllm: MockVllm) -> Iterator[httpx.Client]:
    with running_gateway(settings_with([model_section("alpha", mock_vllm)])) as client:
        yield client


@pytest.fixture
def client(gateway: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["auto", "alpha"]
    assert client.models.retrieve("alpha").owned_by


def test_chat(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES)  # type: ignore[arg-type]
    assert raw.headers["x-gateway-model"] == "alpha"
    answer = raw.parse()
    assert answer.choices[0].message.content == "alpha says: hello there"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


def test_streamed_chat_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="auto",
        messages=MESSAGES,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip() == (
        "alpha says: hello there"
    )
    assert chunks[-1].usage is not None


def test_completions_embeddings_and_responses(client: openai.OpenAI) -> None:
    assert client.completions.create(model="auto", prompt="Once").choices[0].text == "alpha says: Once"
    streamed = client.completions.create(model="auto", prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed).strip() == "alpha says: Once"
    embedded = client.embeddings.create(model="alpha", input="x", encoding_format="float")
    assert embedded.data[0].embedding == [0.25, -0.5, 1.0]
    assert client.responses.create(model="auto", input="Once").output_text == "alpha says: Once"


def test_errors_are_the_clients_own_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=MESSAGES)  # type: ignore[arg-type]
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="", messages=MESSAGES)  # type: ignore[arg-type]
    assert bad.value.param == "model"


@pytest.mark.parametrize("fault", [{"truncate_at_chunk": 2}, {"die_at_chunk": 2}])
def test_a_broken_stream_is_an_exception_and_not_a_short_answer(client: openai.OpenAI, fault: dict[str, int]) -> None:
    """Fact 3 of the reliability notes: without the error event this loop would end as if all were well."""
    stream = client.chat.completions.create(
        model="auto",
        messages=MESSAGES,  # type: ignore[arg-type]
        stream=True,
        extra_body={"mock": fault},
    )
    with pytest.raises(openai.APIError, match="model"):
        list(stream)


def test_the_client_does_not_multiply_our_retries(gateway: httpx.Client, mock_vllm: MockVllm) -> None:
    """Two candidates failed; the client, which would ask three times, asks once."""
    models = [model_section("alpha", mock_vllm), model_section("beta", mock_vllm)]
    mock_vllm.behave(status=503)
    with running_gateway(settings_with(models)) as two:
        patient = openai.OpenAI(base_url=f"{two.base_url}/v1", api_key="none", max_retries=2)
        with pytest.raises(openai.InternalServerError):
            patient.chat.completions.create(model="auto", messages=MESSAGES)  # type: ignore[arg-type]
    assert len(mock_vllm.seen()) == 2


@pytest.mark.node
def test_the_npm_client(gateway: httpx.Client) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules/openai").is_dir():
        reason = "node or the openai npm package is missing; `make setup` installs both"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [node, "client.mjs"],
        cwd=NODE,
        env={**os.environ, "GATEWAY_URL": str(gateway.base_url).rstrip("/")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["models"] == ["auto", "alpha"]
    assert told["answer"] == "alpha says: hello there"
    assert told["model"] == "alpha"
    assert told["streamed"].strip() == "alpha says: hello there"
    assert told["tokens"] == 4
    assert told["embedding"] == [0.25, -0.5, 1]
    assert told["refused"]["name"] == "NotFoundError"
    assert (told["refused"]["status"], told["refused"]["code"]) == (404, "model_not_found")
    assert told["refused"]["id"]
    assert told["broken"] == {"name": "APIError", "code": "upstream_broken_answer"}
