"""Atomic publishing: a reader sees the old artefact or the new one, never half of one.

Everything is written beside its destination, fsync'd, then renamed into place; the parent directory is fsync'd too, so
the new name survives a power cut. A file is replaced in one rename. A directory that already exists is moved aside
first (POSIX cannot rename onto a non-empty directory), so between two renames its name is absent for an instant; if
the second rename fails, the old directory is put back.

Leaves out: locking. Two writers of one destination both succeed and the last one stands.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def publish_file(destination: Path, content: bytes) -> None:
    """Write `content` to `destination` atomically; parent folders are made. Raises OSError."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(destination)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _fsync_directory(destination.parent)


@contextlib.contextmanager
def publish_directory(destination: Path) -> Iterator[Path]:
    """Give an empty directory to fill; on a clean exit it becomes `destination`, else it is removed. Raises OSError."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        yield draft
        _fsync_tree(draft)
        draft.chmod(0o755)
        _move_into_place(draft, destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _fsync_directory(destination.parent)


def _move_into_place(draft: Path, destination: Path) -> None:
    if not destination.exists():
        draft.rename(destination)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    retired = aside / destination.name
    try:
        destination.rename(retired)
        draft.rename(destination)
    except BaseException:  # Ctrl-C too: `finally` is about to delete what was moved aside
        if retired.exists():
            retired.rename(destination)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fsync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        _fsync_directory(Path(folder))


def _fsync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
