"""Run one command and never outlive the program that asked for it.

    python -m deploy.demo.guard COMMAND [ARG ...]

The guard leads a process group of its own that the command and its children share. The command is stopped when the
guard gets SIGINT, SIGTERM or SIGHUP, and when the guard's parent is gone, however it went (even by SIGKILL): first
SIGTERM to the group, after a grace SIGKILL to all of it. The exit status is the command's own.
Leaves out: children that move to another process group by themselves.
"""

import os
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_S = 15.0
_POLL_S = 0.25


def main(command: list[str]) -> int:
    """Run `command` under guard and return its exit status."""
    parent = os.getppid()
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # Started with start_new_session the guard leads its group already; by hand it makes one.
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    child = subprocess.Popen(command)
    while child.poll() is None and not stops and os.getppid() == parent:
        time.sleep(_POLL_S)
    if child.poll() is None:
        os.killpg(0, signal.SIGTERM)  # reaches the guard as well, which only notes it
        _wait(child, GRACE_S)
    status = child.poll()
    # Whatever of the group is left: workers that outlived the command, or the command itself.
    _kill_rest()
    return 128 + signal.SIGKILL if status is None else status if status >= 0 else 128 - status


def _wait(child: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        return


def _kill_rest() -> None:
    """SIGKILL every other process of the guard's group."""
    group = os.getpgrp()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if os.getpgid(int(entry)) == group:
                    os.kill(int(entry), signal.SIGKILL)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m deploy.demo.guard COMMAND [ARG ...]")
    sys.exit(main(sys.argv[1:]))
