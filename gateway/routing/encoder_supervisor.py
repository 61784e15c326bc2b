"""Keeps the encoder process (encoder_process.py) running beside a gateway, for whoever needs it.

The parent of the workers listens on a unix socket in a private folder, and starts the process when the first worker
connects; a gateway whose bundle needs no such process never has one. When the process dies, it is started anew at the
next connection, after a pause that doubles from FIRST_PAUSE_S to LONGEST_PAUSE_S unless it had lived for longer than
that. Connections wait in the listening socket meanwhile, which outlives every process: there is no stale socket.

At the end the process is told by the end of its standard input, which it also sees if the gateway is killed. The folder
of a gateway that was killed is removed by the next one.
"""

import contextlib
import fcntl
import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ConfigError
from gateway.observability.logs import log_event
from gateway.settings import Settings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
STOP_TIMEOUT_S = 5.0

_PREFIX = "gateway-encoder-"
_SOCKET_NAME = "encoder.sock"
_LONGEST_PATH_BYTES = 107
_BACKLOG = 512
_MODULE = "gateway.routing.encoder_process"
# A folder is there for a moment before its owner locks it.
_LEAST_AGE_S = 60.0

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def encoder_process(settings: Settings) -> Iterator[Path | None]:
    """The socket of the encoder process while it is looked after; None if the policy has no use for one.

    Raises ConfigError if no socket can be made.
    """
    if settings.router.policy != "learned":
        yield None
        return
    with _private_folder() as folder, _listener(folder / _SOCKET_NAME) as listener:
        supervisor = EncoderSupervisor(settings, listener)
        supervisor.start()
        try:
            yield folder / _SOCKET_NAME
        finally:
            supervisor.stop()


class EncoderSupervisor:
    """Runs the process in front of `listener`, from a thread that sleeps. Of use once."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._listener = listener
        self._command = [sys.executable, "-P", "-m", _MODULE, "--listener", str(listener.fileno())]
        self._command += ["--settings", settings.router.encoder.model_dump_json(), "--log-level", settings.log.level]
        self._environment = os.environ | {
            # Modules are found where this process finds them: the same gateway, wherever it was started from.
            "PYTHONPATH": os.pathsep.join(place or os.getcwd() for place in sys.path),
            # The threads that the encoder may use are all there are, whichever library it brings.
            "OMP_NUM_THREADS": str(settings.router.encoder.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._supervise, name="encoder supervisor", daemon=True)

    def start(self) -> None:
        """Begin to look after the process; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the process and wait for that; killed if it takes longer than STOP_TIMEOUT_S."""
        self._is_stopping.set()
        self._wake.close()
        with self._lock:
            process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        self._thread.join(STOP_TIMEOUT_S)
        if process is not None and self._thread.is_alive():
            process.kill()
        self._thread.join()
        self._woken.close()

    def _supervise(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self._is_wanted():
            began = time.monotonic()
            try:
                process = self._started()
            except OSError as error:
                status: object = f"{type(error).__name__}: {error}"
            else:
                if process is None:
                    return
                status = process.wait()
            if self._is_stopping.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            log_event(_logger, "encoder_process_ended", level=logging.ERROR, status=status, again_in_s=pause_s)
            self._is_stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _is_wanted(self) -> bool:
        """Wait for a connection; False if it is time to stop."""
        poll = select.poll()
        for source in (self._listener, self._woken):
            poll.register(source, select.POLLIN)
        poll.poll()
        return not self._is_stopping.is_set()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new process; None if it is time to stop."""
        with self._lock:
            if self._is_stopping.is_set():
                return None
            process = self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
                self._command,
                stdin=subprocess.PIPE,
                stdout=2,  # standard error: what a library prints is no output of the gateway's
                pass_fds=[self._listener.fileno()],
                env=self._environment,
            )
        log_event(_logger, "encoder_process_started", pid=process.pid)
        return process


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A new folder, mode 0700, and a lock on it that tells others that its owner lives."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Another user's, or one that is just being removed.
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > _LEAST_AGE_S:
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise ConfigError(f"{path}: too long for the encoder's socket; set TMPDIR to a folder with a shorter path")
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(path))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be listened on: {error.strerror or error}") from error
        listener.listen(_BACKLOG)
        yield listener
