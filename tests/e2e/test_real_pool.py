"""What a user of the demo sees: real queries, real vLLM. Asserted with margins, as greedy text is fragile."""

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from deploy.demo.engine import Engine
from router_core.answers import is_right
from router_core.table import Query, read_queries

pytestmark = pytest.mark.vllm

TEST_QUERIES = Path("deploy/demo/data/router_test.jsonl")
SPECIALIST_OF = {"json": "smollm2-json", "num_sort": "smollm2-nsort", "word_rev": "smollm2-wrev"}
PER_TASK = 5


@pytest.fixture(scope="module")
def client(gateway_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway_url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def sdk(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway_url}/v1", api_key="unused", timeout=120, max_retries=0) as sdk:
        yield sdk


def chat(question: str, model: str = "auto", **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": 64, **more}


def some_queries(task: str) -> list[Query]:
    queries = [query for query in read_queries(TEST_QUERIES) if query.task == task]
    return random.Random(task).sample(queries, PER_TASK)


def test_models_lists_the_alias_and_every_model(sdk: openai.OpenAI) -> None:
    listed = {model.id for model in sdk.models.list()}
    assert {"auto", "smollm2", "smollm2-multi", *SPECIALIST_OF.values()} <= listed


def test_held_out_queries_reach_their_specialist_and_are_answered_right(client: httpx.Client) -> None:
    reached = right = 0
    for task, specialist in SPECIALIST_OF.items():
        for query in some_queries(task):
            answer = client.post("/v1/chat/completions", json=chat(query.question))
            assert answer.status_code == 200
            assert answer.headers["x-gateway-route-reason"] == "routed"
            reached += answer.headers["x-gateway-model"] in {specialist, "smollm2-multi"}
            right += is_right(query.answer, answer.json()["choices"][0]["message"]["content"])
    asked = PER_TASK * len(SPECIALIST_OF)
    assert reached >= 0.7 * asked
    assert right >= 0.6 * asked


def test_a_routed_answer_names_everything_that_decided_it(client: httpx.Client) -> None:
    body = chat("Put 42, 7 and 19 in ascending order.")
    answer = client.post("/v1/chat/completions", json=body, headers={"x-request-id": "abc-1", "x-gateway-debug": "1"})
    headers = answer.headers
    assert headers["x-request-id"] == "abc-1"
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-gateway-decision-id"])
    assert re.fullmatch(r"[0-9a-f]{12}", headers["x-gateway-bundle"])
    assert 0 < float(headers["x-gateway-confidence"]) <= 1
    assert float(headers["x-gateway-overhead-ms"]) > 0
    assert headers["x-gateway-ranking"].count("smollm2") == 6
    assert answer.json()["model"] == headers["x-gateway-model"]


def test_a_named_model_is_asked_as_it_is(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=chat("What is the capital of France?", "smollm2"))
    assert answer.headers["x-gateway-route-reason"] == "pinned"
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]


def test_a_stream_arrives_whole_with_its_usage(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "Name three colours."}],
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None
    assert 0 < chunks[-1].usage.completion_tokens <= 16
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1


def test_fields_that_the_gateway_does_not_own_reach_vllm(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Say a colour."}],
        n=2,
        seed=7,
        temperature=1.0,
        logprobs=True,
        top_logprobs=2,
        max_tokens=6,
        stop=["."],
    )
    assert len(answer.choices) == 2
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content[0].top_logprobs) == 2


def test_structured_output_is_enforced_by_vllm(sdk: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 120}},
        "required": ["city", "age"],
        "additionalProperties": False,
    }
    answer = sdk.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "Ann is 30 and lives in Rome. Give city and age."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
        temperature=0,
        max_tokens=64,
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"city", "age"}


def test_vllm_own_endpoints_pass_through(client: httpx.Client) -> None:
    tokens = client.post("/tokenize", json={"model": "smollm2", "prompt": "hello there"}).json()["tokens"]
    text = client.post("/detokenize", json={"model": "smollm2", "tokens": tokens}).json()["prompt"]
    assert text == "hello there"
    completion = client.post(
        "/v1/completions", json={"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 4}
    )
    assert completion.json()["choices"][0]["text"]
    response = client.post("/v1/responses", json={"model": "auto", "input": "Say hi.", "max_output_tokens": 8})
    assert response.status_code == 200, response.text
    assert response.json()["object"] == "response"
    message = {"model": "auto", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 8}
    answer = client.post("/v1/messages", json=message)
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "message"


def test_the_upstream_refusal_is_told_in_openai_shape(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model="smollm2", messages=[{"role": "user", "content": "hi"}], max_tokens=1_000_000)
    assert refused.value.body is not None
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="gpt-nope", messages=[{"role": "user", "content": "hi"}])
    assert missing.value.code == "model_not_found"


def test_a_client_that_leaves_frees_the_engine(engine: Engine, client: httpx.Client) -> None:
    """F01 on the real engine: its running requests go back to none soon after the client has gone."""
    body = chat("Tell me a very long story.", "smollm2", stream=True, max_tokens=1500, ignore_eos=True)
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        events = answer.iter_bytes()
        next(events)
        # The engine's gauge follows its work with a delay, so it is waited for at both ends.
        assert becomes(engine, lambda count: count >= 1, within_s=20)
    assert becomes(engine, lambda count: count == 0, within_s=20)


def becomes(engine: Engine, is_wanted: Callable[[float], bool], *, within_s: float) -> bool:
    """Whether the number of the engine's running requests is as wanted before the time is up."""
    deadline = time.monotonic() + within_s
    while not is_wanted(running(engine)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def running(engine: Engine) -> float:
    """Requests that the engine is generating for."""
    metrics = httpx.get(f"{engine.url}/metrics", timeout=30).text
    return sum(float(value) for value in re.findall(r"^vllm:num_requests_running\{.*\} ([0-9.e+]+)$", metrics, re.M))
