"""The append-only journal of a scoring run: what was answered is never asked again.

JSON Lines. The first line says which run the journal belongs to: the sampling settings and a digest of the queries,
that is everything that shapes a reply. Each further line is one answer. Models, samples and --limit are not in it, so a
journal may grow: a model added later is asked alone. Nor are the expected answers: correcting one asks nothing again.

Promises: a line is handed to the kernel before its answer counts, so it outlives SIGKILL; it is fsync'd within a second
of the next answer or at close, so a power cut loses at most that. A torn last line is cut off on opening, and asked
again. One process at a time: the file is locked (flock), and the lock dies with its holder.
Leaves out: noticing that other weights now answer under an old name; those need a new journal.
"""

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_core.table import Query
from router_training.errors import DataError

SYNC_INTERVAL_S = 1.0


class Cell(NamedTuple):
    """One thing to ask: which query, which model, which of its samples."""

    query_id: str
    model: str
    sample: int


class Header(BaseModel):
    """The first line: which run a journal belongs to. The same run gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["routerdc-pool-journal"] = "routerdc-pool-journal"
    format_version: Literal[1] = 1
    queries_sha256: str
    temperature: float
    max_tokens: int
    seed: int

    @classmethod
    def of_run(cls, queries: Iterable[Query], *, temperature: float, max_tokens: int, seed: int) -> Self:
        """The header of a run over all queries of a file."""
        asked = json.dumps([[query.id, query.question] for query in queries])
        digest = hashlib.sha256(asked.encode()).hexdigest()
        return cls(queries_sha256=digest, temperature=temperature, max_tokens=max_tokens, seed=seed)

    def line(self) -> bytes:
        """As it stands in the file."""
        return self.model_dump_json().encode() + b"\n"


class Entry(BaseModel):
    """One answer. `right` is the verdict of the day; the table is made from `reply` with the checker of its own day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    sample: int = Field(ge=0)
    reply: str
    right: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    finish_reason: str | None

    @property
    def cell(self) -> Cell:
        """What was asked."""
        return Cell(self.id, self.model, self.sample)


class Journal:
    """An open, locked journal; a context manager. Raises DataError when it is another run's, in use or damaged."""

    def __init__(self, path: Path, header: Header, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.entries: dict[Cell, Entry] = {}
        self._clock = clock
        self._closing = threading.Lock()  # fsync runs in a thread; the descriptor must not be closed under it
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened as a journal: {error.strerror}") from error
        try:
            self._load(header)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._synced_at = clock()

    def _load(self, header: Header) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{self.path}: another run is writing this journal; wait for it or stop it") from None
        content = self.path.read_bytes()
        self.entries, intact_bytes = _parse(content, header, self.path)
        if intact_bytes < len(content):
            os.ftruncate(self._descriptor, intact_bytes)
        if intact_bytes == 0:
            self._write(header.line())
            _fsync_directory(self.path.parent)
        self._fsync()

    def append(self, entry: Entry) -> None:
        """Keep one answer: it outlives this process from here on. Raises DataError (the disk is full, ...)."""
        self._write(entry.model_dump_json().encode() + b"\n")
        self.entries[entry.cell] = entry

    @property
    def is_sync_due(self) -> bool:
        """A second has passed since the last fsync."""
        return self._clock() - self._synced_at >= SYNC_INTERVAL_S

    def sync(self) -> None:
        """Force what was appended to the disk; may be called from another thread."""
        with self._closing:
            if self._descriptor >= 0:
                self._synced_at = self._clock()
                self._fsync()

    def close(self) -> None:
        """Sync and release the lock."""
        with self._closing:
            if self._descriptor >= 0:
                try:
                    self._fsync()
                finally:
                    os.close(self._descriptor)
                    self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def _fsync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"{self.path}: cannot be written: {error.strerror}; what it holds is kept")


def read_journal(path: Path, header: Header) -> dict[Cell, Entry]:
    """The answers of a journal, without locking or mending it; none when there is no such file. Raises DataError."""
    try:
        return _parse(path.read_bytes(), header, path)[0]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(content: bytes, header: Header, path: Path) -> tuple[dict[Cell, Entry], int]:
    """The entries, and how many bytes from the start are whole lines."""
    intact_bytes = content.rfind(b"\n") + 1
    if intact_bytes == 0:
        if not header.line().startswith(content):
            raise DataError(f"{path}: not a journal of this program; name another file with --journal")
        return {}, 0
    # Not bytes.splitlines: that also splits at a carriage return.
    first, *lines = content[: intact_bytes - 1].split(b"\n")
    _check_header(first, header, path)
    entries: dict[Cell, Entry] = {}
    for number, line in enumerate(lines, start=2):
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError:
            if number == len(lines) + 1:  # a power cut can leave a last line of the right length and the wrong bytes
                return entries, intact_bytes - len(line) - 1
            raise DataError(f"{path}: line {number} is damaged; delete that line and run again") from None
        entries.setdefault(entry.cell, entry)
    return entries, intact_bytes


def _check_header(line: bytes, header: Header, path: Path) -> None:
    try:
        found = Header.model_validate_json(line)
    except ValidationError:
        raise DataError(f"{path}: not a journal of this program; name another file with --journal") from None
    theirs, ours = found.model_dump(), header.model_dump()
    differing = [key for key in ours if theirs[key] != ours[key]]
    if differing:
        what = ", ".join(
            "the queries differ" if key == "queries_sha256" else f"{key} is {theirs[key]} there and {ours[key]} here"
            for key in differing
        )
        raise DataError(f"{path}: the journal of another run ({what}); name another --journal, or delete this one")


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
