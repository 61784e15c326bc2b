"""Writes the decision log: bounded files of JSON lines, off the hot path.

A request encodes its record (about a microsecond: less than handing it to a thread, which would hold up the event loop
while it encodes) and appends the line to a bounded queue. A thread writes what has gathered every FLUSH_INTERVAL_S,
many whole lines in one call.

Promises: nothing here raises into a request or makes one wait for a disk. Lines that are lost, because the queue is
full or the disk takes no more, are counted by reason and logged once per burst. A killed process loses what it had not
handed to the kernel, the last FLUSH_INTERVAL_S, and leaves at most one torn line, at a file's end. `aclose` writes the
rest.
Leaves out fsync: what the kernel has taken survives the process; a power cut may cost the last seconds.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.observability.logs import log_event
from gateway.observability.metrics import DecisionLoss, Metrics
from router_core.decisions import FILE_PATTERN, DecisionRecord, decision_line, file_name

FLUSH_INTERVAL_S: Final = 0.1
CLOSE_TIMEOUT_S: Final = 2.0
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
MAX_WRITE_BYTES: Final = 256 * 1024
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_logger = logging.getLogger(__name__)


class DecisionSink:
    """One process's end of the log in `folder`. `start` makes it write, `aclose` ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        max_file_bytes: int,
        max_files: int,
        metrics: Metrics,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self._folder = folder
        self._files = _Files(folder, max_file_bytes=max_file_bytes, max_files=max_files)
        self._metrics = metrics
        self._max_queued_bytes = max_queued_bytes
        self._queue: deque[bytes] = deque()
        # Each of these is written by one side only, the event loop or the thread, so none needs a lock.
        self._queued_bytes = 0
        self._taken_bytes = 0
        self._turned_away = 0
        self._turned_away_seen = 0
        self._lost_in_burst = 0
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write. Raises ConfigError if no file can be made in the folder."""
        try:
            self._files.try_out()
        except OSError as error:
            raise ConfigError(
                f"decisions.path: no file can be written in {str(self._folder)!r}: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(target=self._run, name="decision-sink", daemon=True)
        self._thread.start()

    def add(self, record: DecisionRecord) -> None:
        """Queue a record; count it as lost if the queue is full. Called by the event loop only."""
        line = decision_line(record)
        if self._queued_bytes - self._taken_bytes + len(line) > self._max_queued_bytes:
            # Told from here: the thread may be hanging on the disk.
            if self._lost_in_burst == 0 and self._turned_away == self._turned_away_seen:
                _log_loss("queue_full", "decisions come faster than they are written")
            self._turned_away += 1
            self._metrics.decisions_lost("queue_full", 1)
            return
        self._queued_bytes += len(line)
        self._queue.append(line)

    async def aclose(self) -> None:
        """Write what is queued; what the disk has not taken after CLOSE_TIMEOUT_S goes with the process."""
        if self._thread is None:
            return
        self._is_stopping.set()
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            self._metrics.decisions_lost("unwritable", len(self._queue))
            _log_loss("unwritable", "the disk hangs at stop")

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_stopping.wait(FLUSH_INTERVAL_S)
            self._flush()
        with contextlib.suppress(OSError):
            # Nothing is left to be written, and nobody to be told.
            self._files.finish()

    def _flush(self) -> None:
        lost_before, written = self._lost_in_burst, 0
        turned_away = self._turned_away
        self._lost_in_burst += turned_away - self._turned_away_seen
        self._turned_away_seen = turned_away
        while self._queue:
            written += self._write(self._next_lines())
        if written and self._lost_in_burst == lost_before > 0:
            log_event(_logger, "decisions_written_again", level=logging.WARNING, lost=self._lost_in_burst)
            self._lost_in_burst = 0

    def _next_lines(self) -> list[bytes]:
        """The head of the queue that fits into one write and the open file, but one line at least."""
        lines = [self._queue.popleft()]
        room = min(self._files.room, MAX_WRITE_BYTES) - len(lines[0])
        while self._queue and len(self._queue[0]) <= room:
            lines.append(self._queue.popleft())
            room -= len(lines[-1])
        return lines

    def _write(self, lines: list[bytes]) -> int:
        """Write lines, all of them or none; how many were written."""
        block = b"".join(lines)
        try:
            self._files.append(block)
        except OSError as error:
            self._lost("disk_full" if error.errno in _DISK_FULL else "unwritable", len(lines), str(error.strerror))
            return 0
        finally:
            self._taken_bytes += len(block)
        return len(lines)

    def _lost(self, reason: DecisionLoss, count: int, why: str) -> None:
        self._metrics.decisions_lost(reason, count)
        if self._lost_in_burst == 0:
            _log_loss(reason, why)
        self._lost_in_burst += count


def _log_loss(reason: DecisionLoss, why: str) -> None:
    log_event(_logger, "decisions_lost", level=logging.ERROR, reason=reason, why=why)


class _Files:
    """The files of the folder: the one that this process writes, and how many others may be there.

    A file is written by one process, under a name of its own, and holds a lock while it is. The oldest without a lock
    go when a file too many would begin, whoever wrote them. Every method may raise OSError.
    """

    def __init__(self, folder: Path, *, max_file_bytes: int, max_files: int) -> None:
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._path = folder
        self._descriptor: int | None = None
        self._size = 0

    @property
    def room(self) -> int:
        """Bytes until the next file must begin."""
        return self._max_file_bytes - self._size

    def append(self, block: bytes) -> None:
        """Write whole lines, all of them or, if OSError is raised, none."""
        if self._descriptor is not None and (len(block) > self.room or os.fstat(self._descriptor).st_nlink == 0):
            # Full, or somebody removed it.
            self.finish()
        descriptor = self._begin() if self._descriptor is None else self._descriptor
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            # The next lines get another file: whatever is wrong with this one, it ends in a whole line, or, where even
            # that cannot be had, in the one torn line that readers expect at an end.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            self.finish()
            raise
        self._size += len(block)

    def try_out(self) -> None:
        """Make a file and remove it."""
        self._open()
        self.finish()

    def finish(self) -> None:
        """Close the open file, if there is one; an empty one leaves no trace."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if os.fstat(descriptor).st_size == 0:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
            self._size = 0

    def _begin(self) -> int:
        """Make room for a new file and open it."""
        files = sorted(self._folder.glob(FILE_PATTERN))
        excess = len(files) + 1 - self._max_files
        for path in files:
            if excess > 0 and _is_gone_unless_locked(path):
                excess -= 1
        return self._open()

    def _open(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / file_name(datetime.now(UTC), os.getpid())
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        self._path, self._descriptor, self._size = path, descriptor, 0
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor


def _is_gone_unless_locked(path: Path) -> bool:
    """Remove a file that no living process writes; True if it is not there any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # Another process made room at this moment.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
