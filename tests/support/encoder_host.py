"""What tests need to know of the encoder process of a gateway, or of their own process."""

import os
from pathlib import Path


def encoder_pids(parent: int | None = None) -> list[int]:
    """The encoder processes among the children of `parent` (this process), the dead ones left out."""
    parent = os.getpid() if parent is None else parent
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            # pid (name) state parent ...; the name may hold anything.
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(its_parent) == parent and b"encoder_process" in command and state != "Z":
            found.append(int(folder.name))
    return found
