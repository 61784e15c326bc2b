"""Where the control document is kept: a file, or the shared state (Redis).

Promises: a reader sees the old document or the new one, never half of one; a change is written only over the version
that it was made from, so that two who change at the same time cannot lose each other's change; the file is readable by
its owner alone. Loading is cheap while nothing changes: a look at the file's times, or one small question to Redis.
"""

import asyncio
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.control.document import ControlDocument
from gateway.errors import ConfigError, GatewayError, UnreadableDocumentError, VersionConflictError
from gateway.settings import Settings
from gateway.settings_file import first_fault
from gateway.state.base import NO_DOCUMENT, State
from gateway.state.build import build_state

DOCUMENT_NAME: Final = "control"
CHANGE_TIMEOUT_S: Final = 2.0
EMPTY: Final = ControlDocument()


class ControlStore(Protocol):
    """Holds the document. `place` says where, in words for an operator; it holds no secret."""

    @property
    def place(self) -> str:
        """Where the document is."""

    async def load(self) -> ControlDocument:
        """The document, the same object while it has not changed; the empty one if there is none.

        Raises UnreadableDocumentError for one that cannot be read, StateUnavailableError if the store does not answer.
        """

    async def save(self, document: ControlDocument) -> None:
        """Write the document over its predecessor.

        Raises VersionConflictError if another version than the one before is there, UnreadableDocumentError if what is
        there cannot be read, StateUnavailableError if the store does not answer, GatewayError if a file cannot be
        written, ConfigError if there is no place for it.
        """


class FileControlStore:
    """The document in a JSON file; `path` None holds nothing and keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._document = EMPTY

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self._path)

    async def load(self) -> ControlDocument:
        """The document; the file is read only when it has changed."""
        return EMPTY if self._path is None else await asyncio.to_thread(self._load, self._path)

    async def save(self, document: ControlDocument) -> None:
        """Replace the file in one step."""
        if self._path is None:
            raise ConfigError("control.file: there is no place for changes; set it, or state.redis_url")
        await asyncio.to_thread(self._save, self._path, document)

    def _load(self, path: Path) -> ControlDocument:
        # Of threads that read at the same time, each would else take the other's document for its own.
        with self._reading:
            try:
                status = path.stat()
            except OSError:
                # `_read` finds out the same, and tells it.
                seen = None
            else:
                seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen is None or seen != self._seen:
                self._document, self._seen = _read(path), seen
            return self._document

    def _save(self, path: Path, document: ControlDocument) -> None:
        try:
            with _locked(path):
                # Not what was read before: another process may have written since.
                _check_order(_read(path).version, document)
                _replace(path, document.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise GatewayError(f"control document {path}: cannot be written: {error.strerror}") from error


class StateControlStore:
    """The document in the shared state. `host` is only for `place`."""

    def __init__(self, state: State, host: str = "memory") -> None:
        self._state = state
        self._host = host
        self._seen = NO_DOCUMENT
        self._document = EMPTY

    @property
    def place(self) -> str:
        """The host and the document's name."""
        return f"shared state at {self._host} ({DOCUMENT_NAME})"

    async def load(self) -> ControlDocument:
        """The document; its text is fetched only when it has changed."""
        found = await self._state.document(DOCUMENT_NAME, self._seen)
        if found is not None:
            version, text = found
            # In a thread, for thousands of keys take longer than requests should wait.
            document = await asyncio.to_thread(_parsed, text, self.place) if version else EMPTY
            if document.version != version:
                raise UnreadableDocumentError(
                    f"control document in {self.place}: version: {document.version}, stored as {version}"
                )
            self._document, self._seen = document, found
        return self._document

    async def save(self, document: ControlDocument) -> None:
        """Replace the document."""
        before = document.version - 1
        if not await self._state.replace_document(DOCUMENT_NAME, before, document.model_dump_json().encode()):
            raise _conflict(before)


def build_control_state(settings: Settings, timeout_s: float = CHANGE_TIMEOUT_S) -> State:
    """A state for the document alone, not connected yet: a change may take longer than a request may wait.

    Nor does what requests meet keep changes out, or the other way round. Raises ConfigError.
    """
    patient = settings.state.model_copy(update={"timeout_s": timeout_s})
    return build_state(settings.model_copy(update={"state": patient}))


def build_control_store(settings: Settings, state: State) -> ControlStore:
    """The shared state when `state.redis_url` is set, else `control.file`."""
    if settings.state.redis_url is None:
        return FileControlStore(settings.control.file)
    # The URL may hold a password: host and port only.
    parts = urlsplit(settings.state.redis_url.get_secret_value())
    return StateControlStore(state, (parts.netloc or parts.path).rpartition("@")[2])


def _read(path: Path) -> ControlDocument:
    try:
        return _parsed(path.read_bytes(), str(path))
    except FileNotFoundError:
        return EMPTY
    except OSError as error:
        raise UnreadableDocumentError(f"control document {path}: cannot be read: {error.strerror}") from error


def _parsed(text: bytes, place: str) -> ControlDocument:
    try:
        return ControlDocument.model_validate_json(text)
    except ValidationError as error:
        raise UnreadableDocumentError(f"control document {place}: {first_fault(error)}") from None


def _check_order(stored: int, document: ControlDocument) -> None:
    if stored != document.version - 1:
        raise _conflict(document.version - 1)


def _conflict(version: int) -> VersionConflictError:
    return VersionConflictError(f"version {version} of the control document is not the newest any more; look again")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out. The lock is a file of its own, because the document is replaced under it."""
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _give_to_owner(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _give_to_owner(descriptor: int, model: Path) -> None:
    """When root changes the document (`sudo gateway keys revoke`), the gateway's own user must still be able to."""
    if os.geteuid() == 0:
        owner = model.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _replace(path: Path, content: bytes) -> None:
    """Write beside `path` (mode 0600, which mkstemp gives), fsync, rename, fsync the folder. The owner stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_to_owner(descriptor, path if path.exists() else path.parent)
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
