"""/admin/v1: who may, what changes, what is refused, and what is never shown. F43 and F59."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from gateway.access.keys import NewKey, new_key
from gateway.control.document import ControlDocument
from tests.support.gateway_client import CHAT, chat, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm
from tests.support.small_bundle import small_bundle

CALLS = [
    ("GET", "/admin/v1/control"),
    ("POST", "/admin/v1/models"),
    ("DELETE", "/admin/v1/models/alpha"),
    ("PUT", "/admin/v1/bundle"),
    ("POST", "/admin/v1/keys"),
    ("DELETE", "/admin/v1/keys/0123456789abcdef"),
]


class Place(NamedTuple):
    """A gateway with a bundle and two keys, and its control document."""

    client: httpx.Client
    root: NewKey
    alice: NewKey
    file: Path
    folder: Path

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A call by the key for administration."""
        return self.client.request(method, f"/admin/v1/{path}", json=body, headers=bearer(self.root) | headers)

    def stored(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.file.read_text())
        return document


def bearer(key: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {key.text}"}


@pytest.fixture
def place(tmp_path: Path, mock_vllm: MockVllm) -> Iterator[Place]:
    root, alice = new_key("root", scope="admin"), new_key("alice")
    file = tmp_path / "control.json"
    file.write_text(ControlDocument(version=1, keys=(root.record, alice.record)).model_dump_json())
    settings = settings_with(
        [model_section(name, mock_vllm, router_name=f"llm-{name[0]}") for name in ("alpha", "beta")],
        router={"bundle": str(small_bundle(tmp_path / "bundle").path), "default_model": "alpha"},
        access={"require_keys": True},
        control={"file": str(file)},
        server={"max_body_bytes": 4096},
    )
    with running_gateway(settings) as client:
        yield Place(client, root, alice, file, tmp_path)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_only_a_key_for_administration_may(place: Place, method: str, path: str) -> None:
    before = place.file.read_text()
    for headers, status in (
        ({}, 401),
        (bearer(new_key("mallory", scope="admin")), 401),
        (bearer(place.alice), 403),
    ):
        assert place.client.request(method, path, json={}, headers=headers).status_code == status
    assert place.file.read_text() == before
    assert place.client.post(CHAT, json=chat(), headers=bearer(place.root)).status_code == 403


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_keys_nobody_may(gateway: httpx.Client, method: str, path: str) -> None:
    answer = gateway.request(method, path, json={})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    assert "access.require_keys" in answer.json()["error"]["message"]


def test_the_document_is_shown_without_secrets(place: Place) -> None:
    answer = place.ask("GET", "control")
    assert answer.headers["etag"] == '"1"'
    shown = answer.json()
    assert (shown["version"], shown["live_version"], shown["refused"]) == (1, 1, None)
    assert [(key["name"], key["scope"]) for key in shown["keys"]] == [("root", "admin"), ("alice", "inference")]
    assert shown["serving"]["models"] == ["alpha", "beta"]
    for key in (place.root, place.alice):
        assert key.record.secret_sha256 not in answer.text
        assert key.text.split("_", 2)[2] not in answer.text


def test_a_model_is_served_and_is_not_any_more(place: Place, mock_vllm: MockVllm) -> None:
    entry = model_section("org/gamma", mock_vllm)
    added = place.ask("POST", "models", entry)
    assert (added.status_code, added.headers["etag"], added.json()["live_version"]) == (200, '"2"', 2)
    assert added.json()["models"] == place.stored()["models"] == [entry]
    assert place.client.post(CHAT, json=chat("org/gamma"), headers=bearer(place.alice)).status_code == 200
    assert place.ask("DELETE", "models/org/gamma").json()["serving"]["models"] == ["alpha", "beta"]
    assert place.client.post(CHAT, json=chat("org/gamma"), headers=bearer(place.alice)).status_code == 404


def test_a_bundle_is_routed_by(place: Place) -> None:
    other = small_bundle(place.folder / "other", accuracy=((0.2, 0.9), (0.8, 0.3)))
    asked = chat("auto", messages=[{"role": "user", "content": "2 + 2 = ?"}])
    before = place.client.post(CHAT, json=asked, headers=bearer(place.alice))
    answer = place.ask("PUT", "bundle", {"path": str(other.path)})
    assert answer.json()["bundle"] == {"path": str(other.path), "digest": other.digest}
    assert answer.json()["serving"]["bundle"] == other.digest
    after = place.client.post(CHAT, json=asked, headers=bearer(place.alice))
    assert [before.headers["x-gateway-model"], after.headers["x-gateway-model"]] == ["alpha", "beta"]


def test_a_key_is_made_once_and_revoked(place: Place) -> None:
    body = {"name": "bob", "allowed_models": ["beta"], "requests_per_minute": 5}
    made = place.ask("POST", "keys", body)
    assert made.status_code == 201
    key, key_id = made.json()["key"], made.json()["id"]
    asking = {"authorization": f"Bearer {key}"}
    answer = place.client.post(CHAT, json=chat("beta"), headers=asking)
    assert (answer.status_code, answer.headers["x-ratelimit-limit-requests"]) == (200, "5")
    assert place.client.post(CHAT, json=chat("alpha"), headers=asking).status_code == 403
    assert key.split("_", 2)[2] not in place.file.read_text()
    assert key not in place.ask("GET", "control").text
    assert place.ask("DELETE", f"keys/{key_id}").status_code == 200
    assert place.client.post(CHAT, json=chat("beta"), headers=asking).status_code == 401


def test_a_change_is_made_from_the_version_that_was_seen(place: Place, mock_vllm: MockVllm) -> None:
    entry = model_section("gamma", mock_vllm)
    for stale in ('"0"', '"2"'):
        refused = place.ask("POST", "models", entry, **{"if-match": stale})
        assert (refused.status_code, refused.json()["error"]["code"]) == (412, "version_conflict")
    assert place.ask("POST", "models", entry, **{"if-match": "W/x"}).status_code == 400
    assert place.stored()["version"] == 1
    assert place.ask("POST", "models", entry, **{"if-match": '"1"'}).headers["etag"] == '"2"'
    assert place.ask("DELETE", "models/gamma", **{"if-match": "*"}).headers["etag"] == '"3"'


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "models", {"name": "../x", "replicas": [{"base_url": "http://127.0.0.1:1/v1"}]}, "name"),
        ("POST", "models", {"name": "x"}, "replicas"),
        ("POST", "models", {"name": "x", "replicas": [{"base_url": "file:///etc"}]}, "base_url"),
        (
            "POST",
            "models",
            {"name": "x", "replicas": [{"base_url": "http://127.0.0.1:1/v1", "api_key": "${HOME}"}]},
            "control.api_key_variables does not list HOME",
        ),
        ("POST", "models", [], "object"),
        ("DELETE", "models/alpha", None, "router.default_model"),
        ("DELETE", "models/nobody", None, "not served"),
        ("DELETE", "models/..%2f..%2fetc", None, "not served"),
        ("PUT", "bundle", {"path": "/nowhere/at/all"}, "no such router bundle"),
        ("PUT", "bundle", {"path": "/" + "x" * 300}, "cannot be read"),
        ("PUT", "bundle", {"path": "bundle"}, "absolute"),
        ("PUT", "bundle", {"folder": "x"}, "path"),
        ("POST", "keys", {"name": "bob", "scope": "admin"}, "scope"),
        ("POST", "keys", {"name": "\x1b[2J"}, "name"),
        ("POST", "keys", {"name": "bob", "requests_per_minute": 0}, "requests_per_minute"),
        ("DELETE", "keys/0123456789abcdef", None, "0123456789abcdef"),
    ],
)
def test_what_will_not_do_is_told_and_not_written(place: Place, method: str, path: str, body: Any, told: str) -> None:
    before = place.file.read_text()
    answer = place.ask(method, path, body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert told in answer.json()["error"]["message"]
    assert "\n" not in answer.json()["error"]["message"]
    assert place.file.read_text() == before


@pytest.mark.parametrize(
    "entry",
    [
        '{"name": "b", %s, "price": {"input_per_million_tokens": 1e999, "output_per_million_tokens": 1}}',
        '{"name": "b", %s, "seconds_per_token": 1e999}',
        '{"name": "b", %s, "seconds_per_token": Infinity}',
        '{"name": "b", %s, "router_name": "\\ud800"}',
    ],
)
def test_what_could_not_be_read_again_is_refused_and_keys_can_still_be_revoked(place: Place, entry: str) -> None:
    body = entry % '"replicas": [{"base_url": "http://127.0.0.1:1/v1"}]'
    answer = place.client.post("/admin/v1/models", content=body, headers=bearer(place.root))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert place.ask("DELETE", f"keys/{place.alice.record.id}").status_code == 200
    assert place.client.post(CHAT, json=chat(), headers=bearer(place.alice)).status_code == 401


def test_a_stored_document_that_cannot_be_read_is_not_the_callers_fault(place: Place) -> None:
    place.file.write_text("{")
    for method, path in (("GET", "control"), ("DELETE", f"keys/{place.alice.record.id}")):
        answer = place.ask(method, path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")
        assert "control.json" in answer.json()["error"]["message"]


def test_a_body_is_read_within_limits(place: Place) -> None:
    assert place.ask("POST", "models", {"name": "x" * 5000}).status_code == 413
    answer = place.client.post("/admin/v1/models", content=b"[" * 4000, headers=bearer(place.root))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
