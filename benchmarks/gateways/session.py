"""What a process and all that it has started take, from /proc: CPU time, memory, and whose a connection is.

A gateway is started as the leader of a session of its own, so its processes are found by session, whoever their parent
is by now. CPU time is what the kernel's scheduler charged, in nanoseconds: of every live process, of its threads that
are gone, and of children that were waited for. Leaves out: children that ended and were waited for by nobody.
"""

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# The clock of a process, as clock_getcpuclockid(3) numbers it.
_PROCESS_CLOCK: Final = 2
# Fields of /proc/PID/stat after the command's name, which may hold blanks and brackets.
_STATE, _SESSION, _CHILD_USER, _CHILD_SYSTEM = 0, 3, 13, 14
_INODE = re.compile(r"socket:\[(\d+)\]")


def processes_of(session: int, *, alive: bool = False) -> list[int]:
    """Ids of the processes of a session; with `alive` those alone that have not ended, which zombies have."""
    found = []
    for entry in os.listdir(PROC):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields is None or int(fields[_SESSION]) != session:
                continue
            if not (alive and fields[_STATE] == "Z"):
                found.append(int(entry))
    return found


def cpu_seconds(session: int) -> float:
    """CPU time that the session's processes, and the children they waited for, have taken so far."""
    return sum(_cpu_seconds(process) for process in processes_of(session))


def memory_kib(session: int) -> int:
    """Memory of the session's processes, shared pages counted in proportion (PSS)."""
    total = 0
    for process in processes_of(session):
        try:
            text = (PROC / str(process) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


def owners(processes: Iterable[int], ports: Sequence[int]) -> dict[int, int]:
    """Local port -> the process that has a connection from it, for the ports that are one's."""
    inode_of = _inodes(frozenset(ports))
    owner: dict[int, int] = {}
    for process in processes:
        held = _socket_inodes(process)
        owner |= {port: process for port, inode in inode_of.items() if inode in held}
    return owner


def _cpu_seconds(process: int) -> float:
    fields = _stat(process)
    try:
        own_ns = time.clock_gettime_ns((~process << 3) | _PROCESS_CLOCK)
    except OSError:
        return 0.0
    ticks = 0 if fields is None else int(fields[_CHILD_USER]) + int(fields[_CHILD_SYSTEM])
    return own_ns / 1e9 + ticks / _TICKS_PER_S


def _stat(process: int) -> list[str] | None:
    try:
        text = (PROC / str(process) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _inodes(ports: frozenset[int]) -> dict[int, str]:
    found = {}
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            port, is_established = int(fields[1].rpartition(":")[2], 16), fields[3] == "01"
            if is_established and port in ports:
                found[port] = fields[9]
    return found


def _socket_inodes(process: int) -> set[str]:
    folder = PROC / str(process) / "fd"
    found: set[str] = set()
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        try:
            match = _INODE.fullmatch(os.readlink(folder / name))
        except OSError:
            continue
        if match is not None:
            found.add(match.group(1))
    return found
