"""Ctrl-C, SIGTERM and SIGHUP as one exception that never tears the start of a process apart."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(Exception):  # noqa: N818 - not a fault: somebody asked for it
    """SIGINT, SIGTERM or SIGHUP arrived."""


class StopSignals:
    """Turns the first stopping signal into `Stopped`; later ones do nothing, so that stopping is never interrupted."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._depth = 0
        self._arrived = False
        for number in self.NUMBERS:
            signal.signal(number, self._arrive)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        repeated, self._arrived = self._arrived, True
        if self._depth == 0 and not repeated:
            raise Stopped

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For the start of a process: a signal that arrives inside is heard when it ends."""
        self._depth += 1
        yield
        self._depth -= 1
        if self._arrived:
            raise Stopped

    def ignore(self) -> None:
        """From here on nothing interrupts."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)
