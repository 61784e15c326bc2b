"""The decision log of a real gateway: what each kind of request leaves in it."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.routing.session import session_digest
from gateway.settings_file import load_settings
from router_core.decisions import Candidate, DecisionRecord, read_decisions
from tests.support.gateway_client import BODIES, CHAT, chat, metric, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm
from tests.support.settings import write_settings

PRICE = {"input_per_million_tokens": 10, "output_per_million_tokens": 100}
HELLO = "hello there"


class Log:
    """A gateway's folder; reading it stops the gateway first, so that everything is written."""

    def __init__(self, folder: Path, client: httpx.Client, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.client = client
        self._stack = stack

    def read(self) -> list[DecisionRecord]:
        self._stack.close()
        return list(read_decisions(self.folder))

    def one(self) -> DecisionRecord:
        (record,) = self.read()
        return record


@contextlib.contextmanager
def logging(folder: Path, mock: MockVllm, router: dict[str, Any] | None = None, **decisions: Any) -> Iterator[Log]:
    """A gateway with models alpha, which has a price, and beta."""
    models = [model_section("alpha", mock, price=PRICE), model_section("beta", mock, context_tokens=100)]
    sections: dict[str, Any] = {"decisions": {"path": folder, **decisions}}
    if router is not None:
        sections["router"] = router
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(running_gateway(settings_with(models, **sections)))
        yield Log(folder, client, stack)


def test_a_routed_request_leaves_all_that_is_known_of_it(tmp_path: Path, mock_vllm: MockVllm) -> None:
    before = time.time()
    with logging(tmp_path, mock_vllm, ask="text") as log:
        headers = {"x-session-id": "s", "x-request-id": "mine"}
        answer = log.client.post(CHAT, json=chat("auto"), headers=headers)
        record = log.one()
    assert record.decision_id == answer.headers["x-gateway-decision-id"]
    assert record.request_id == answer.headers["x-request-id"] == "mine"
    assert before < record.time_s < time.time()
    assert (record.endpoint, record.key_id, record.requested_model) == (CHAT, None, "auto")
    assert record.session == session_digest(None, "s")
    assert (record.ask, record.ask_sha256, record.ask_characters) == (HELLO, None, len(HELLO))
    assert not record.is_ask_truncated
    assert (record.policy, record.bundle_digest, record.reason, record.detail) == ("fixed", None, "routed", "")
    assert (record.chosen_model, record.answered_model, record.propensity) == ("alpha", "alpha", 1.0)
    assert record.candidates == (Candidate("alpha", expected_cost=256 * 100 / 1e6 + 2 * 10 / 1e6), Candidate("beta"))
    assert (record.confidence, record.novelty, record.quality, record.max_cost) == (None, None, 1.0, None)
    assert (record.attempts, record.status, record.outcome, record.error) == (1, 200, "ok", None)
    assert (record.is_stream, record.is_cached) == (False, False)
    usage = answer.json()["usage"]
    assert (record.input_tokens, record.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert record.cost == pytest.approx(float(answer.headers["x-gateway-cost"]))
    assert record.overhead_s is not None
    assert 0 < record.overhead_s < record.duration_s
    assert record.first_token_s is None


def test_a_stream_has_its_first_token(tmp_path: Path, mock_vllm: MockVllm) -> None:
    with logging(tmp_path, mock_vllm) as log:
        assert log.client.post(CHAT, json=chat(stream=True)).text.endswith("[DONE]\n\n")
        record = log.one()
    assert record.is_stream
    assert record.first_token_s is not None
    assert 0 < record.first_token_s <= record.duration_s


@pytest.mark.parametrize("model", ["alpha", "auto"])
@pytest.mark.parametrize(
    ("kind", "ask", "sha256"),
    [("text", HELLO, None), ("hash", None, hashlib.sha256(HELLO.encode()).hexdigest()), ("none", None, None)],
)
def test_of_the_ask_is_kept_what_was_asked_for(
    tmp_path: Path, mock_vllm: MockVllm, model: str, kind: str, ask: str | None, sha256: str | None
) -> None:
    with logging(tmp_path, mock_vllm, ask=kind) as log:
        log.client.post(CHAT, json=chat(model))
        record = log.one()
    assert (record.ask, record.ask_sha256, record.ask_characters) == (ask, sha256, len(HELLO))


def test_by_default_no_text_is_written(tmp_path: Path, mock_vllm: MockVllm) -> None:
    with logging(tmp_path, mock_vllm) as log:
        log.client.post(CHAT, json=chat("auto"))
        log.read()
    assert all(HELLO not in file.read_text() for file in tmp_path.iterdir())


def test_a_long_ask_keeps_its_two_ends(tmp_path: Path, mock_vllm: MockVllm) -> None:
    text = "b" * 300 + "m" * 1000 + "e" * 300
    with logging(tmp_path, mock_vllm, ask="text", max_ask_characters=301) as log:
        log.client.post(CHAT, json=chat(messages=[{"role": "user", "content": text}]))
        record = log.one()
    assert record.ask == "b" * 150 + "e" * 151
    assert record.is_ask_truncated
    assert record.ask_characters == 1600


@pytest.mark.parametrize("path", sorted(BODIES))
def test_every_endpoint_is_logged_and_texts_only_where_routing_reads_them(
    tmp_path: Path, mock_vllm: MockVllm, path: str
) -> None:
    with logging(tmp_path, mock_vllm, ask="text") as log:
        log.client.post(path, json={"model": "beta", **BODIES[path]})
        record = log.one()
    is_read = path in {CHAT, "/v1/completions", "/v1/responses", "/v1/messages"}
    assert (record.endpoint, record.ask) == (path, HELLO if is_read else "")
    assert (record.reason, record.candidates, record.quality) == ("pinned", (), None)


@pytest.mark.parametrize("messages", [None, "text", 7, [], [7], [{"role": "user", "content": 7}]])
def test_a_pinned_body_of_any_shape_is_logged(tmp_path: Path, mock_vllm: MockVllm, messages: Any) -> None:
    with logging(tmp_path, mock_vllm) as log:
        mock = {"status": 400}
        log.client.post(CHAT, json=chat(messages=messages, mock=mock))
        record = log.one()
    assert (record.status, record.outcome, record.error) == (400, "client_error", "upstream_refused")


def test_a_draw_has_its_propensity_and_masks_are_named(tmp_path: Path, mock_vllm: MockVllm) -> None:
    router = {"policy": "weighted", "weights": {"alpha": 3, "beta": 1}, "default_model": "beta", "seed": 1}
    with logging(tmp_path, mock_vllm, router) as log:
        for _ in range(20):
            log.client.post(CHAT, json=chat("auto"))
        log.client.post(CHAT, json=chat("auto", max_tokens=1000))
        *drawn, masked = log.read()
    assert {(record.chosen_model, record.propensity) for record in drawn} == {("alpha", 0.75), ("beta", 0.25)}
    assert (masked.chosen_model, masked.propensity) == ("alpha", 1.0)
    assert Candidate("beta", masked="context") in masked.candidates


def test_a_model_that_answers_instead_is_told_from_the_chosen_one(tmp_path: Path, mock_vllm: MockVllm) -> None:
    with logging(tmp_path, mock_vllm) as log:
        answer = log.client.post(CHAT, json=chat("auto", mock={"status": 503}))
        record = log.one()
    assert answer.status_code == record.status == 503
    assert (record.reason, record.chosen_model, record.answered_model) == ("routed", "alpha", "beta")
    assert (record.attempts, record.outcome, record.error) == (2, "upstream_error", answer.json()["error"]["code"])


def test_what_got_no_decision_is_not_logged(tmp_path: Path, mock_vllm: MockVllm) -> None:
    with logging(tmp_path, mock_vllm) as log:
        for body in (b"{", json.dumps(chat("nobody")).encode()):
            assert log.client.post(CHAT, content=body).status_code in {400, 404}
        assert log.client.get("/v1/models").status_code == 200
        assert metric(log.client, "gateway_decisions_lost_total") == 0
        assert log.read() == []


def test_the_folder_stands_beside_the_document(tmp_path: Path) -> None:
    path = write_settings(tmp_path / "gateway.yaml", decisions={"path": "log"})
    assert load_settings(path).decisions.path == tmp_path / "log"


def test_the_text_of_a_long_pinned_request_is_not_read_for_the_log(tmp_path: Path, mock_vllm: MockVllm) -> None:
    messages = [{"role": "user", "content": "x" * 300_000}]
    with logging(tmp_path, mock_vllm) as log:
        for model in ("alpha", "auto"):
            log.client.post(CHAT, json=chat(model, messages=messages))
        pinned, routed = log.read()
    assert (pinned.ask_characters, routed.ask_characters) == (0, 300_000)
