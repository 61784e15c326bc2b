"""Where key records are kept: a JSON file, or a hash in the shared state (Redis).

Promises: a reader of the file sees the old document or the new one, never half of one; the file is readable by its
owner alone; two writers on one host do not lose each other's keys. A record that cannot be read is reported and skipped
in the shared store (the others must go on working) and makes the whole file unreadable, because there a person edited
it.
"""

import asyncio
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.access.keys import KeyRecord
from gateway.errors import ConfigError
from gateway.observability.logs import log_event
from gateway.settings import Settings
from gateway.state.base import State

HASH_NAME: Final = "keys"
_logger = logging.getLogger("gateway.access")


class KeyStore(Protocol):
    """Holds key records. `place` says where, in words for an operator; it holds no secret."""

    @property
    def place(self) -> str:
        """Where the records are."""

    async def load(self) -> Mapping[str, KeyRecord]:
        """Every record by id. Raises ConfigError (unreadable file) or StateUnavailableError."""

    async def save(self, record: KeyRecord) -> None:
        """Add or replace a record. Raises ConfigError (unwritable file) or StateUnavailableError."""


class _KeysDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    format: Literal["routerdc-gateway-keys"] = "routerdc-gateway-keys"
    format_version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()


class FileKeyStore:
    """Records in a JSON file. A file that does not exist holds no keys; it is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._records: dict[str, KeyRecord] = {}

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self._path)

    async def load(self) -> Mapping[str, KeyRecord]:
        """Every record by id."""
        return await asyncio.to_thread(self._load)

    async def save(self, record: KeyRecord) -> None:
        """Write the file anew with `record` in it."""
        await asyncio.to_thread(self._save, record)

    def _load(self) -> Mapping[str, KeyRecord]:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                document = _KeysDocument.model_validate_json(self._path.read_bytes())
                self._records, self._seen = {record.id: record for record in document.keys}, seen
        except FileNotFoundError:
            self._records, self._seen = {}, None
        except OSError as error:
            raise ConfigError(f"keys file {self._path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise ConfigError(f"keys file {self._path}: {_first_fault(error)}") from None
        return self._records

    def _save(self, record: KeyRecord) -> None:
        try:
            with _locked(self._path):
                records = {**self._load(), record.id: record}
                document = _KeysDocument(keys=tuple(records.values()))
                _replace(self._path, document.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"keys file {self._path}: cannot be written: {error.strerror}") from error


class StateKeyStore:
    """Records in a hash of the shared state. `host` is only for `place`."""

    def __init__(self, state: State, host: str = "memory") -> None:
        self._state = state
        self._host = host
        self._reported: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """The host and the hash's name."""
        return f"shared state at {self._host} (hash {HASH_NAME})"

    async def load(self) -> Mapping[str, KeyRecord]:
        """Every readable record by id."""
        records: dict[str, KeyRecord] = {}
        broken: set[str] = set()
        for key_id, value in (await self._state.records(HASH_NAME)).items():
            try:
                record = KeyRecord.model_validate_json(value)
            except ValidationError:
                broken.add(key_id)
                continue
            if record.id == key_id:
                records[key_id] = record
            else:
                broken.add(key_id)
        if broken - self._reported:
            log_event(_logger, "key_records_unreadable", level=logging.ERROR, ids=sorted(broken))
        self._reported = frozenset(broken)
        return records

    async def save(self, record: KeyRecord) -> None:
        """Put the record into the hash."""
        await self._state.put_record(HASH_NAME, record.id, record.model_dump_json().encode())


def build_key_store(settings: Settings, state: State) -> KeyStore:
    """The shared state when `state.redis_url` is set, else `access.keys_file`. Raises ConfigError if neither is."""
    if settings.state.redis_url is not None:
        # The URL may hold a password: host and port only.
        parts = urlsplit(settings.state.redis_url.get_secret_value())
        return StateKeyStore(state, (parts.netloc or parts.path).rpartition("@")[2])
    if settings.access.keys_file is not None:
        return FileKeyStore(settings.access.keys_file)
    raise ConfigError("access.keys_file: keys need a place; set access.keys_file or state.redis_url")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out. The lock is a file of its own, because the keys file is replaced under it."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Write beside `path` (mode 0600, which mkstemp gives), fsync, rename, fsync the folder."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]
