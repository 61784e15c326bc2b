"""Changes of a running gateway: what requests see of them, and what is kept out. F54 and F59."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.keys import new_key
from gateway.app import build_app
from gateway.control.changes import Control
from gateway.control.document import ControlDocument
from gateway.control.follower import Follower
from gateway.control.live import Live
from gateway.control.store import FileControlStore, build_control_store
from gateway.errors import ConfigError, StateUnavailableError
from gateway.settings import Settings
from gateway.state.build import build_state
from tests.support.eventually import eventually
from tests.support.gateway_client import CHAT, chat, metric, model_section, running_gateway, settings_with
from tests.support.mock_vllm import MockVllm
from tests.support.redis_server import RedisServer
from tests.support.small_bundle import small_bundle

FAST: Any = {"poll_interval_s": 0.02}
DIGITS_TO = {"llm-a": ((0.9, 0.2), (0.3, 0.8)), "llm-b": ((0.2, 0.9), (0.8, 0.3))}


def changed(settings: Settings, change: Callable[[Control], Any]) -> ControlDocument:
    """Make a change where a gateway with these settings finds it."""

    async def make() -> ControlDocument:
        state = build_state(settings)
        try:
            document: ControlDocument = await change(Control(settings, build_control_store(settings, state)))
            return document
        finally:
            await state.aclose()

    return asyncio.run(make())


def wait_for_version(client: httpx.Client, version: int) -> None:
    async def is_there() -> bool:
        return metric(client, "gateway_control_version") == version

    asyncio.run(eventually(is_there))


def in_file(tmp_path: Path, models: list[dict[str, Any]], **sections: Any) -> Settings:
    return settings_with(models, control={"file": str(tmp_path / "control.json"), **FAST}, **sections)


def entry(mock: MockVllm, name: str = "gamma") -> dict[str, Any]:
    return model_section(name, mock)


def test_a_model_comes_and_goes_while_its_requests_finish(tmp_path: Path, mock_vllm: MockVllm) -> None:
    settings = in_file(tmp_path, [model_section("alpha", mock_vllm)])
    with running_gateway(settings) as client:
        assert client.post(CHAT, json=chat("gamma")).status_code == 404
        changed(settings, lambda control: control.set_model(entry(mock_vllm)))
        wait_for_version(client, 1)
        assert client.post(CHAT, json=chat("gamma")).status_code == 200
        assert "gamma" in client.get("/v1/models").text
        assert client.get("/readyz").json()["models"] == {"alpha": True, "gamma": True}
        assert metric(client, "gateway_requests_total", model="gamma", status="200") == 1
        assert metric(client, "gateway_upstream_up", model="gamma", replica="0") == 1
        mock = {"chunks": 40, "chunk_delay_s": 0.02}
        with client.stream("POST", CHAT, json=chat("gamma", stream=True, mock=mock)) as answer:
            parts = answer.iter_text()
            text = next(parts)
            changed(settings, lambda control: control.remove_model("gamma"))
            wait_for_version(client, 2)
            assert client.post(CHAT, json=chat("gamma")).status_code == 404
            text += "".join(parts)
        assert text.endswith("data: [DONE]\n\n")
        assert 'gateway_upstream_up{model="gamma"' not in client.get("/metrics").text
        assert client.get("/readyz").json()["control_version"] == 2


@pytest.fixture
def routed(tmp_path: Path, mock_vllm: MockVllm) -> Settings:
    """Settings with a bundle that sends digits to alpha; `other` beside it sends them to beta."""
    for name, first in (("bundle", "llm-a"), ("other", "llm-b")):
        small_bundle(tmp_path / name, accuracy=DIGITS_TO[first])
    models = [model_section(name, mock_vllm, router_name=f"llm-{name[0]}") for name in ("alpha", "beta")]
    router = {"bundle": str(tmp_path / "bundle"), "default_model": "alpha"}
    return in_file(tmp_path, models, router=router)


def test_bundles_are_swapped_under_load_and_no_request_sees_half_of_one(routed: Settings, tmp_path: Path) -> None:
    answers: list[tuple[int, str, str]] = []
    is_over = threading.Event()

    def ask(client: httpx.Client) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            body = chat("auto", messages=[{"role": "user", "content": f"{number} + 2 = ?"}])
            answer = client.post(CHAT, json=body)
            headers = answer.headers
            answers.append((answer.status_code, headers["x-gateway-model"], headers["x-gateway-bundle"]))

    with running_gateway(routed) as client:
        askers = [threading.Thread(target=ask, args=(client,)) for _ in range(3)]
        for asker in askers:
            asker.start()
        try:
            for version in range(1, 11):
                path = tmp_path / ("other" if version % 2 else "bundle")
                changed(routed, lambda control, path=path: control.set_bundle(path))  # type: ignore[misc]
                wait_for_version(client, version)
        finally:
            is_over.set()
            for asker in askers:
                asker.join()
        digests = {name: small_bundle_digest(tmp_path / name) for name in ("bundle", "other")}
        assert metric(client, "gateway_bundle_info", digest=digests["bundle"], policy="learned") == 1
        assert metric(client, "gateway_bundle_info", digest=digests["other"], policy="learned") == 0
    assert {status for status, _, _ in answers} == {200}
    assert {(model, digest) for _, model, digest in answers} == {
        ("alpha", digests["bundle"]),
        ("beta", digests["other"]),
    }


def small_bundle_digest(path: Path) -> str:
    from router_core.bundle import load_bundle

    return load_bundle(path).digest[:12]


@pytest.mark.parametrize("fault", ["not JSON", "a model that is needed is gone", "another digest", "no such bundle"])
def test_a_document_that_will_not_do_is_kept_out(routed: Settings, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "control.json"
    with running_gateway(routed) as client:
        good = changed(routed, lambda control: control.set_bundle(tmp_path / "other"))
        wait_for_version(client, 1)
        document = json.loads(file.read_text()) | {"version": 2}
        if fault == "a model that is needed is gone":
            document["removed_models"] = ["alpha"]
        elif fault == "another digest":
            document["bundle"]["digest"] = "0" * 64
        elif fault == "no such bundle":
            document["bundle"]["path"] = str(tmp_path / "absent")
            document["bundle"]["digest"] = "0" * 64
        file.write_text("not JSON" if fault == "not JSON" else json.dumps(document))

        async def is_refused() -> bool:
            return metric(client, "gateway_control_refused") == 1

        asyncio.run(eventually(is_refused))
        answer = client.post(CHAT, json=chat("auto", messages=[{"role": "user", "content": "2 + 2 = ?"}]))
        assert (answer.status_code, answer.headers["x-gateway-model"]) == (200, "beta")
        assert client.get("/readyz").json()["control_version"] == 1
        file.write_text(good.model_copy(update={"version": 3}).model_dump_json())
        wait_for_version(client, 3)
        assert metric(client, "gateway_control_refused") == 0
    assert file.read_text() != "not JSON"


def test_a_change_that_will_not_do_is_not_written(routed: Settings, tmp_path: Path) -> None:
    small_bundle(tmp_path / "strange", models=("llm-x", "llm-y"))
    for change, told in (
        (lambda control: control.set_bundle(tmp_path / "strange"), "router_name: the bundle has no model"),
        (lambda control: control.set_bundle(tmp_path / "absent"), "no such router bundle"),
        (lambda control: control.remove_model("alpha"), "default_model"),
        (lambda control: control.set_model({"name": "x"}), "replicas"),
        (lambda control: control.revoke_key("0" * 16), "no key has the id"),
    ):
        with pytest.raises(ConfigError, match=told):
            changed(routed, change)
    assert not (tmp_path / "control.json").exists()


def test_keys_revoked_long_ago_are_forgotten_when_one_is_added(routed: Settings) -> None:
    old, recent, new = (new_key(name).record for name in ("old", "recent", "new"))
    now = datetime.now(UTC)
    revoked = [
        record.model_copy(update={"revoked": now - timedelta(days=days)}) for record, days in ((old, 31), (recent, 29))
    ]
    changed(routed, lambda control: control.change(lambda _: {"keys": revoked}))
    document = changed(routed, lambda control: control.add_key(new))
    assert [record.name for record in document.keys] == ["recent", "new"]


def test_two_who_change_at_the_same_time_both_get_their_change(routed: Settings) -> None:
    names = [f"user {number}" for number in range(4)]

    async def make() -> None:
        store = FileControlStore(routed.control.file)
        await asyncio.gather(*(Control(routed, store).add_key(new_key(name).record) for name in names))
        assert sorted(record.name for record in (await store.load()).keys) == names

    asyncio.run(make())


class SilentStore(FileControlStore):
    """Writes, and does not answer."""

    async def save(self, document: ControlDocument) -> None:
        await super().save(document)
        raise StateUnavailableError("no answer")


def test_a_change_whose_answer_is_lost_is_made(routed: Settings) -> None:
    async def make() -> None:
        store = SilentStore(routed.control.file)
        key = new_key("alice").record
        document = await Control(routed, store).add_key(key)
        assert (document.version, document.keys) == (1, (key,))

    asyncio.run(make())


@contextlib.contextmanager
def two_gateways(settings: Settings) -> Iterator[list[httpx.Client]]:
    with running_gateway(settings) as one, running_gateway(settings) as other:
        yield [one, other]


@pytest.mark.redis
def test_gateways_that_share_redis_follow_the_same_document(redis_server: RedisServer, mock_vllm: MockVllm) -> None:
    settings = settings_with(
        [model_section("alpha", mock_vllm)],
        access={"require_keys": True},
        control=FAST,
        state={"redis_url": redis_server.url, "timeout_s": 5.0},
    )
    key = new_key("alice")
    headers = {"authorization": f"Bearer {key.text}"}
    with two_gateways(settings) as clients:
        assert [client.post(CHAT, json=chat(), headers=headers).status_code for client in clients] == [401, 401]
        changed(settings, lambda control: control.add_key(key.record))
        changed(settings, lambda control: control.set_model(entry(mock_vllm)))
        for client in clients:
            wait_for_version(client, 2)
            assert client.post(CHAT, json=chat("gamma"), headers=headers).status_code == 200
        changed(settings, lambda control: control.revoke_key(key.record.id))
        for client in clients:
            wait_for_version(client, 3)
            assert client.post(CHAT, json=chat(), headers=headers).status_code == 401


@pytest.mark.redis
def test_redis_away_leaves_all_as_it_is_and_at_start_lets_nobody_in(
    own_redis_server: RedisServer, mock_vllm: MockVllm
) -> None:
    settings = settings_with(
        [model_section("alpha", mock_vllm)],
        access={"require_keys": True},
        control=FAST,
        state={"redis_url": own_redis_server.url, "timeout_s": 5.0},
    )
    key = new_key("alice")
    headers = {"authorization": f"Bearer {key.text}"}
    own_redis_server.kill()
    with running_gateway(settings) as client:
        refused = client.post(CHAT, json=chat(), headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["keys_known"]) == (503, False)
        own_redis_server.start()
        changed(settings, lambda control: control.add_key(key.record))
        wait_for_version(client, 1)
        assert client.post(CHAT, json=chat(), headers=headers).status_code == 200
        assert client.get("/readyz").status_code == 200
        own_redis_server.kill()
        assert client.post(CHAT, json=chat(), headers=headers).status_code == 200


def test_a_document_that_will_not_do_stops_the_start(routed: Settings, tmp_path: Path) -> None:
    document = ControlDocument(version=1, removed_models=("alpha",))
    (tmp_path / "control.json").write_text(document.model_dump_json())

    async def start() -> None:
        app = build_app(routed)
        try:
            await app.start()
        finally:
            await app.aclose()

    with pytest.raises(ConfigError, match="default_model"):
        asyncio.run(start())


class FaultyStore:
    """Gives the empty document, then fails in a way that no store has declared, then gives another document."""

    place = "a test"

    def __init__(self) -> None:
        self.loads = 0
        self._documents = (ControlDocument(), ControlDocument(version=1))

    async def load(self) -> ControlDocument:
        self.loads += 1
        if self.loads == 2:
            raise RuntimeError("can't start new thread")
        return self._documents[self.loads > 2]

    async def save(self, document: ControlDocument) -> None:
        raise AssertionError("nobody changes anything here")


class Followed:
    """Stands in for what is changed."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    async def start(self, document: ControlDocument) -> None:
        self.versions.append(document.version)

    apply = start


class Gauge:
    def control_refused(self, is_refused: bool) -> None:
        assert not is_refused


async def test_an_unforeseen_failure_does_not_end_the_following() -> None:
    followed: Any = Followed()
    live: Live = followed
    follower = Follower(FaultyStore(), live, Gauge(), 0.01, lambda _: None)
    await follower.start()
    try:

        async def has_followed() -> bool:
            return bool(followed.versions == [0, 1])

        await eventually(has_followed)
    finally:
        await follower.aclose()
