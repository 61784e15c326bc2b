"""Puts a gateway into a folder of its own under .cache/benchmarks/gateways, from a package registry.

Python packages go into a virtual environment without pip, Debian packages are unpacked and not installed, npm packages
get a prefix. What is there with the same requirements is used again; remove the folder to take newer versions. Leaves
out: anything compiled, downloaded by an install script, or pulling a CUDA build.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INSTALL_TIMEOUT_S = 1800
_STAMP: Final = ".installed"
_LAST_WORDS = 3


class InstallationError(Exception):
    """A gateway could not be installed; the message says which and why, with the last lines of the installer."""


class Installation(ABC):
    """What a gateway is installed from."""

    @abstractmethod
    def fill(self, folder: Path) -> None:
        """Install into the empty folder. Raises InstallationError."""

    @abstractmethod
    def version(self, folder: Path) -> str:
        """The version of what was installed."""

    def made_from(self) -> str:
        """What, if it changes, asks for a new installation."""
        return repr(self)

    def size_mb(self, folder: Path) -> float:
        """Disk that it takes, in MB of a million bytes."""
        return disk_mb(folder)

    def ensure(self, folder: Path) -> None:
        """Install unless the same was installed here before. Raises InstallationError."""
        made_from = hashlib.sha256(f"{self.made_from()} {folder.resolve()} {sys.version}".encode()).hexdigest()
        stamp = folder / _STAMP
        if stamp.is_file() and stamp.read_text() == made_from:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.fill(folder)
        stamp.write_text(made_from)


@dataclass(frozen=True)
class PythonPackages(Installation):
    """A virtual environment with these requirements; the first one names the package whose version counts."""

    requirements: tuple[str, ...]

    def fill(self, folder: Path) -> None:
        """Wheels only."""
        make_environment(folder, self.requirements, self.requirements[0])

    def version(self, folder: Path) -> str:
        """As the package's metadata says."""
        name = _normalised(self.requirements[0].split("[")[0].split("=")[0])
        for metadata in folder.glob("lib/python*/site-packages/*.dist-info"):
            found, _, version = metadata.name.removesuffix(".dist-info").partition("-")
            if _normalised(found) == name:
                return version
        raise InstallationError(f"{name} is not in {folder}")


@dataclass(frozen=True)
class DebianPackages(Installation):
    """Debian packages, downloaded and unpacked, so that nothing on the machine changes; the first one's version counts.

    Each package must depend on nothing that the machine lacks, or on what is listed beside it.
    """

    packages: tuple[str, ...]

    def fill(self, folder: Path) -> None:
        """apt-get download, dpkg-deb -x."""
        if shutil.which("apt-get") is None:
            raise InstallationError(f"{self.packages[0]}: apt-get is not here, so this is not Debian or Ubuntu")
        # As another user apt may not write here, which it says and then downloads as itself.
        _run(["apt-get", "download", "-q", *self.packages], self.packages[0], folder)
        for archive in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "-x", archive.name, "."], self.packages[0], folder)
            if archive.name.startswith(f"{self.packages[0]}_"):
                (folder / "version").write_text(archive.name.split("_")[1].replace("%3a", ":"))
            archive.unlink()

    def version(self, folder: Path) -> str:
        """As the archive was named."""
        return (folder / "version").read_text()


@dataclass(frozen=True)
class NpmPackage(Installation):
    """One npm package."""

    package: str

    def fill(self, folder: Path) -> None:
        """Npm install, install scripts of packages off."""
        if shutil.which("npm") is None:
            raise InstallationError(f"{self.package}: npm is not here")
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        _run(["npm", "install", "--prefix", str(folder), *options, self.package], self.package)

    def version(self, folder: Path) -> str:
        """As its package.json says."""
        manifest = json.loads((folder / "node_modules" / self.package / "package.json").read_text(encoding="utf-8"))
        return str(manifest["version"])


def make_environment(folder: Path, words: Sequence[str], name: str) -> None:
    """A virtual environment of this Python, filled by its pip, which stays outside. Raises InstallationError."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], name)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-cache-dir"]
    _run([*pip, "--only-binary", ":all:", *words], name)


def disk_mb(*folders: Path) -> float:
    """Disk that the files take, in MB of a million bytes; hard links count once, what links point at does not."""
    taken: dict[tuple[int, int], int] = {}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                status = os.lstat(os.path.join(parent, name))
                taken[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(taken.values()) / 1e6


def _normalised(name: str) -> str:
    return name.replace("-", "_").replace(".", "_").lower()


def _run(command: Sequence[str], name: str, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallationError(f"{name}: not installed after {INSTALL_TIMEOUT_S} s") from error
    if done.returncode != 0:
        words = " / ".join(line.strip() for line in done.stdout.splitlines() if line.strip())
        raise InstallationError(f"{name}: {' / '.join(words.split(' / ')[-_LAST_WORDS:])}")
