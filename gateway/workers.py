"""Several worker processes behind one port: the parent's side.

The parent accepts every connection and hands it to the worker with the fewest open ones (equal ones in turn), so each
has its share whatever the kernel's mood: workers that accept by themselves from one socket divide a burst of
connections by who wakes first, and sockets of their own (SO_REUSEPORT) by chance. The parent sees no request: a
connection costs it once, an answer nothing.

Promises: nothing is accepted before every worker is ready; a worker that dies is replaced, and its connections are all
that is lost; SIGTERM and SIGINT reach every worker, the listener stays open while they finish (gateway/http/drain.py),
and the parent ends when the last has; the same signal again hurries them. A worker that cannot start at first ends all;
one that cannot be replaced is tried again.
Leaves out workers that hang: a supervisor that watches /healthz does better there.
"""

import logging
import multiprocessing
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final

from gateway.errors import ConfigError
from gateway.http.server import BACKLOG, ENDING, READY
from gateway.observability.logs import log_event

# After its start, at the earliest, a worker that has served is replaced, and one that never came up.
RESTART_S: Final = 1.0
RETRY_S: Final = 5.0
# While no worker takes a connection (their channels are full), or the parent is out of file descriptors.
PAUSE_S: Final = 0.02
ACCEPTS_PER_TURN: Final = 64
_logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Worker:
    """One process and what the parent knows of it."""

    process: BaseProcess
    channel: socket.socket
    started_at: float
    connections: int = 0
    is_ready: bool = False
    is_ending: bool = False
    is_heard: bool = True


class Workers:
    """Runs `count` processes of `serve(channel)`, which must be picklable, on the connections of `listener`."""

    def __init__(self, count: int, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._count = count
        self._listener = listener
        self._serve = serve
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._restarts: list[float] = []
        self._held: socket.socket | None = None
        self._resume_at: float | None = None
        self._is_listening = False
        self._is_stopping = False
        self._has_failed = False

    def run(self, announce: Callable[[], None]) -> None:
        """Serve until a stop signal; `announce` is called when all workers are ready. Raises ConfigError."""
        try:
            with self._selector, self._signals():
                self._restarts = [0.0] * self._count
                self._start_due()
                while self._restarts or self._workers:
                    for key, _ in self._selector.select(self._patience_s()):
                        key.data()
                    self._start_due()
                    self._resume_if_due()
                    if not self._is_listening and all(worker.is_ready for worker in self._workers) and self._workers:
                        self._listen()
                        announce()
        finally:
            # At the interpreter's end their processes are waited for: they must hear that it is over.
            for worker in self._workers:
                worker.channel.close()
        if self._held is not None:
            self._held.close()
        if self._has_failed:
            raise ConfigError("a worker could not start; its log line says why")

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [at for at in self._restarts if at <= now]
        self._restarts = [at for at in self._restarts if at > now]
        for _ in due:
            try:
                self._start()
            except OSError as error:
                log_event(_logger, "worker_not_started", level=logging.ERROR, error=error.strerror)
                self._is_missing(now + RETRY_S)
                if self._is_stopping:
                    return

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Spawned, not forked: a worker inherits no descriptor but its channel, and no lock that is held.
            process = multiprocessing.get_context("spawn").Process(target=self._serve, args=(theirs,))
            try:
                process.start()
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        worker = _Worker(process, ours, time.monotonic())
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, partial(self._hear, worker))
        self._selector.register(process.sentinel, selectors.EVENT_READ, partial(self._bury, worker))

    def _hear(self, worker: _Worker) -> None:
        """What the worker says: that it is ready, that it is about to end, or how many connections have closed."""
        while worker.is_heard:
            try:
                message = worker.channel.recv(64)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._hush(worker)
                return
            if message == READY:
                worker.is_ready = True
            elif message == ENDING:
                worker.is_ending = True
            else:
                worker.connections -= int(message)

    def _hush(self, worker: _Worker) -> None:
        if worker.is_heard:
            worker.is_heard = False
            self._selector.unregister(worker.channel)

    def _bury(self, worker: _Worker) -> None:
        """The worker's process has ended."""
        worker.process.join()
        self._workers.remove(worker)
        self._selector.unregister(worker.process.sentinel)
        self._hush(worker)
        worker.channel.close()
        status = worker.process.exitcode
        if self._is_stopping:
            return
        log_event(_logger, "worker_died", level=logging.ERROR, process=worker.process.pid, exit_status=status)
        wait_s = RESTART_S if worker.is_ready else RETRY_S
        self._is_missing(max(time.monotonic(), worker.started_at + wait_s))

    def _is_missing(self, restart_at: float) -> None:
        """A worker is missing: the start has failed, or there will be another one."""
        if self._is_listening:
            self._restarts.append(restart_at)
        else:
            self._has_failed = True
            self._stop()

    def _listen(self) -> None:
        self._is_listening = True
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                log_event(_logger, "accept_failed", level=logging.ERROR, error=error.strerror)
                self._pause()
                return
            if not self._hand_over(connection):
                self._held = connection
                self._pause()
                return

    def _hand_over(self, connection: socket.socket) -> bool:
        """Give the connection to the least busy worker that takes it."""
        ready = [worker for worker in self._workers if worker.is_ready]
        while ready:
            # One that ends refuses: it is for when all do, and clients should hear so.
            worker = min(ready, key=lambda one: (one.is_ending, one.connections))
            try:
                socket.send_fds(worker.channel, [b"c"], [connection.fileno()])
            except OSError:
                # Its channel is full, or it is about to end.
                ready.remove(worker)
                continue
            worker.connections += 1
            connection.close()
            # To the end of the line, so that equal ones take turns.
            self._workers.remove(worker)
            self._workers.append(worker)
            return True
        return False

    def _pause(self) -> None:
        self._selector.unregister(self._listener)
        self._resume_at = time.monotonic() + PAUSE_S

    def _resume_if_due(self) -> None:
        if self._resume_at is None or time.monotonic() < self._resume_at:
            return
        if self._held is not None and not self._hand_over(self._held):
            self._resume_at = time.monotonic() + PAUSE_S
            return
        self._held, self._resume_at = None, None
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _patience_s(self) -> float | None:
        """Until something falls due; None if nothing does."""
        times = [*self._restarts, *([] if self._resume_at is None else [self._resume_at])]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _stop(self) -> None:
        self._is_stopping = True
        self._restarts.clear()
        for worker in self._workers:
            worker.process.terminate()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop signals become something to read."""
        wake, woken = socket.socketpair()

        def on_signal(_: int, __: FrameType | None) -> None:
            """The number has been written to `wake`."""

        def on_woken() -> None:
            woken.recv(64)
            self._stop()

        numbers = (signal.SIGTERM, signal.SIGINT)
        with wake, woken:
            wake.setblocking(False)
            before_fd = signal.set_wakeup_fd(wake.fileno())
            before = {number: signal.signal(number, on_signal) for number in numbers}
            self._selector.register(woken, selectors.EVENT_READ, on_woken)
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(before_fd)
