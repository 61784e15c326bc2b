"""Builds the two C programs with gcc, into .cache/benchmarks/load, and again only when their source has changed."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-O2",)


class BuildError(Exception):
    """The programs could not be built; the message says why."""


@dataclass(frozen=True)
class Programs:
    """Where the built programs are."""

    load_generator: Path
    mock_upstream: Path


def build_programs(folder: Path) -> Programs:
    """Both programs, built into `folder`. Raises BuildError: no gcc, or what gcc says."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise BuildError("gcc is not here: apt-get install gcc libc6-dev")
    folder.mkdir(parents=True, exist_ok=True)
    return Programs(*(_built(compiler, name, folder) for name in ("load_generator", "mock_upstream")))


def _built(compiler: str, name: str, folder: Path) -> Path:
    source = SOURCES / f"{name}.c"
    made_from = source.read_bytes() + (SOURCES / "loop.h").read_bytes() + " ".join(FLAGS).encode()
    program = folder / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}"
    if not program.exists():
        part = program.with_suffix(".part")
        done = subprocess.run([compiler, *FLAGS, "-o", part, source], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"gcc cannot build {source.name}: {done.stderr.strip()}")
        part.replace(program)
    return program
