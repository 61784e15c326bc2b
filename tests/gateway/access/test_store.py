"""Key stores: the same promises in a file, in memory and in Redis, and what only the file promises."""

import asyncio
import json
import logging
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.access.keys import new_key
from gateway.access.store import FileKeyStore, KeyStore, StateKeyStore, build_key_store
from gateway.errors import ConfigError, StateUnavailableError
from gateway.state.memory import MemoryState
from gateway.state.redis import RedisState
from tests.support.redis_server import RedisServer
from tests.support.settings import make_settings


@pytest.fixture(params=["file", "memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    if request.param == "file":
        yield FileKeyStore(tmp_path / "keys.json")
    elif request.param == "memory":
        yield StateKeyStore(MemoryState())
    else:
        state = RedisState(request.getfixturevalue("redis_server").url, timeout_s=5.0)
        yield StateKeyStore(state)
        await state.aclose()


async def test_an_empty_store_holds_no_keys(store: KeyStore) -> None:
    assert await store.load() == {}


async def test_saved_records_are_loaded_and_replaced(store: KeyStore) -> None:
    alice, bob = new_key("alice", ("alpha",), 60).record, new_key("bob").record
    await store.save(alice)
    await store.save(bob)
    assert await store.load() == {alice.id: alice, bob.id: bob}
    revoked = alice.model_copy(update={"revoked": alice.created})
    await store.save(revoked)
    assert await store.load() == {alice.id: revoked, bob.id: bob}


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    asyncio.run(FileKeyStore(path).save(new_key("alice").record))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {entry.name for entry in tmp_path.iterdir()} == {"keys.json", "keys.json.lock"}


async def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    key = new_key("alice")
    await FileKeyStore(tmp_path / "keys.json").save(key.record)
    assert key.text.split("_", 2)[2] not in (tmp_path / "keys.json").read_text()


async def test_a_change_by_another_process_is_seen(tmp_path: Path) -> None:
    reader, writer = FileKeyStore(tmp_path / "keys.json"), FileKeyStore(tmp_path / "keys.json")
    assert await reader.load() == {}
    record = new_key("alice").record
    await writer.save(record)
    assert await reader.load() == {record.id: record}
    (tmp_path / "keys.json").unlink()
    assert await reader.load() == {}


async def test_parallel_writers_lose_nothing(tmp_path: Path) -> None:
    records = [new_key(f"user {number}").record for number in range(20)]
    await asyncio.gather(*(FileKeyStore(tmp_path / "keys.json").save(record) for record in records))
    assert set(await FileKeyStore(tmp_path / "keys.json").load()) == {record.id for record in records}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"keys": [{"id": "x"}]}', b'{"format_version": 2}']
)
async def test_a_file_that_is_not_one_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys\.json") as caught:
        await FileKeyStore(path).load()
    assert "\n" not in caught.value.message


async def test_a_broken_files_hashes_are_not_in_the_message(tmp_path: Path) -> None:
    record = new_key("alice").record
    broken = json.loads(record.model_dump_json()) | {"surprise": 1}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [broken]}))
    with pytest.raises(ConfigError, match="surprise") as caught:
        await FileKeyStore(tmp_path / "keys.json").load()
    assert record.secret_sha256 not in str(caught.value)


async def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        await FileKeyStore(tmp_path / "absent" / "keys.json").save(new_key("alice").record)


async def test_one_broken_record_does_not_lock_the_others_out(caplog: pytest.LogCaptureFixture) -> None:
    state = MemoryState()
    store = StateKeyStore(state)
    good, moved = new_key("alice").record, new_key("bob").record
    await store.save(good)
    await state.put_record("keys", "broken", b"{")
    await state.put_record("keys", "0" * 16, moved.model_dump_json().encode())
    with caplog.at_level(logging.ERROR, logger="gateway.access"):
        assert await store.load() == {good.id: good}
        assert await store.load() == {good.id: good}
    assert [record.getMessage() for record in caplog.records] == ["key_records_unreadable"]


@pytest.mark.redis
async def test_redis_away_is_an_error(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    state = RedisState(own_redis_server.url, timeout_s=5.0)
    with pytest.raises(StateUnavailableError):
        await StateKeyStore(state).load()
    await state.aclose()


def test_the_place_is_chosen_by_the_settings_and_shows_no_password(tmp_path: Path) -> None:
    in_file = make_settings(access={"keys_file": str(tmp_path / "keys.json")})
    assert build_key_store(in_file, MemoryState()).place == str(tmp_path / "keys.json")
    in_redis = make_settings(state={"redis_url": "redis://user:hunter2@cache:6379/0"})
    place = build_key_store(in_redis, MemoryState()).place
    assert "cache:6379" in place
    assert "hunter2" not in place
    with pytest.raises(ConfigError, match=r"access\.keys_file"):
        build_key_store(make_settings(), MemoryState())
