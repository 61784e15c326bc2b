"""Stores of the control document: the same promises in a file, in memory and in Redis, and some of the file alone."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.access.keys import new_key
from gateway.control.document import ControlDocument
from gateway.control.store import ControlStore, FileControlStore, StateControlStore, build_control_store
from gateway.errors import ConfigError, GatewayError, StateUnavailableError, VersionConflictError
from gateway.state.memory import MemoryState
from gateway.state.redis import RedisState
from tests.support.redis_server import RedisServer
from tests.support.settings import make_settings


def document(version: int, *names: str) -> ControlDocument:
    return ControlDocument(version=version, keys=tuple(new_key(name).record for name in names))


@pytest.fixture(params=["file", "memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ControlStore]:
    if request.param == "file":
        yield FileControlStore(tmp_path / "control.json")
    elif request.param == "memory":
        yield StateControlStore(MemoryState())
    else:
        state = RedisState(request.getfixturevalue("redis_server").url, timeout_s=5.0)
        yield StateControlStore(state)
        await state.aclose()


async def test_without_a_change_the_document_is_empty(store: ControlStore) -> None:
    assert await store.load() == ControlDocument()


async def test_what_is_saved_is_loaded_and_is_the_same_until_it_changes(store: ControlStore) -> None:
    first, second = document(1, "alice"), document(2, "alice", "bob")
    await store.save(first)
    loaded = await store.load()
    assert loaded == first
    assert await store.load() is loaded
    await store.save(second)
    assert await store.load() == second


async def test_a_change_of_a_document_that_is_not_the_newest_is_refused(store: ControlStore) -> None:
    await store.save(document(1, "alice"))
    for version in (1, 3):
        with pytest.raises(VersionConflictError, match=f"version {version - 1} "):
            await store.save(document(version, "mallory"))
    assert [record.name for record in (await store.load()).keys] == ["alice"]


async def test_of_parallel_changes_one_is_made(tmp_path: Path) -> None:
    async def is_made(number: int) -> bool:
        try:
            await FileControlStore(tmp_path / "control.json").save(document(1, f"user {number}"))
        except VersionConflictError:
            return False
        return True

    made = await asyncio.gather(*(is_made(number) for number in range(12)))
    assert sum(made) == 1
    loaded = await FileControlStore(tmp_path / "control.json").load()
    assert [record.name for record in loaded.keys] == [f"user {made.index(True)}"]


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    key = new_key("alice")
    path = tmp_path / "control.json"
    asyncio.run(FileControlStore(path).save(ControlDocument(version=1, keys=(key.record,))))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {entry.name for entry in tmp_path.iterdir()} == {"control.json", "control.json.lock"}
    assert key.text.split("_", 2)[2] not in path.read_text()


async def test_a_change_is_made_over_what_is_stored_and_not_over_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    store = FileControlStore(path)
    await store.save(document(1, "alice"))
    before, text = path.stat(), (await store.load()).model_dump_json(indent=2)
    # The same size, inode and time: nothing of the file's status tells that it is another one.
    path.write_text(text.replace('"version": 1', '"version": 7') + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(VersionConflictError):
        await store.save(document(2, "mallory"))
    assert json.loads(path.read_text())["version"] == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_a_change_by_root_leaves_the_file_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    os.chown(tmp_path, 1234, 1235)
    await FileControlStore(path).save(document(1))
    os.chown(path, 2345, 2346)
    await FileControlStore(path).save(document(2))
    lock = path.with_name("control.json.lock").stat()
    status = path.stat()
    assert (status.st_uid, status.st_gid, lock.st_uid, lock.st_gid) == (2345, 2346, 1234, 1235)


async def test_a_change_by_another_process_is_seen(tmp_path: Path) -> None:
    reader, writer = FileControlStore(tmp_path / "control.json"), FileControlStore(tmp_path / "control.json")
    assert (await reader.load()).version == 0
    await writer.save(document(1, "alice"))
    assert (await reader.load()).version == 1
    (tmp_path / "control.json").unlink()
    assert (await reader.load()).version == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"keys": [{"id": "x"}]}', b'{"format_version": 2}']
)
async def test_a_file_that_is_not_one_is_named_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "control.json"
    path.write_bytes(content)
    for attempt in (FileControlStore(path).load(), FileControlStore(path).save(document(1))):
        with pytest.raises(ConfigError, match=r"control\.json") as caught:
            await attempt
        assert "\n" not in caught.value.message
    assert path.read_bytes() == content


async def test_a_broken_files_hashes_are_not_in_the_message(tmp_path: Path) -> None:
    record = new_key("alice").record
    broken = json.loads(record.model_dump_json()) | {"surprise": 1}
    (tmp_path / "control.json").write_text(json.dumps({"keys": [broken]}))
    with pytest.raises(ConfigError, match="surprise") as caught:
        await FileControlStore(tmp_path / "control.json").load()
    assert record.secret_sha256 not in str(caught.value)


async def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="cannot be written: No such file"):
        await FileControlStore(tmp_path / "absent" / "control.json").save(document(1))


async def test_no_place_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"control\.file"):
        await FileControlStore(None).save(document(1))


async def test_a_text_of_another_version_than_it_is_stored_as_is_refused() -> None:
    state = MemoryState()
    await state.replace_document("control", 0, document(5).model_dump_json().encode())
    with pytest.raises(ConfigError, match="version: 5, stored as 1"):
        await StateControlStore(state).load()


@pytest.mark.redis
async def test_redis_away_is_an_error(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    state = RedisState(own_redis_server.url, timeout_s=5.0)
    with pytest.raises(StateUnavailableError):
        await StateControlStore(state).load()
    await state.aclose()


def test_the_place_is_chosen_by_the_settings_and_shows_no_password(tmp_path: Path) -> None:
    in_file = make_settings(control={"file": str(tmp_path / "control.json")})
    assert build_control_store(in_file, MemoryState()).place == str(tmp_path / "control.json")
    in_redis = make_settings(state={"redis_url": "redis://user:hunter2@cache:6379/0"})
    place = build_control_store(in_redis, MemoryState()).place
    assert "cache:6379" in place
    assert "hunter2" not in place
