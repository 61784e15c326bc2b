import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.gateways.installation import (
    DebianPackages,
    Installation,
    InstallationError,
    NpmPackage,
    PythonPackages,
    disk_mb,
)


@dataclass(frozen=True)
class Written(Installation):
    """Installs a file that says what it was asked for."""

    content: str
    works: bool = True

    def fill(self, folder: Path) -> None:
        (folder / "file").write_text(self.content)
        if not self.works:
            raise InstallationError("half way")

    def version(self, folder: Path) -> str:
        return (folder / "file").read_text()


def test_what_is_there_is_used_again_until_something_else_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    Written("one").ensure(folder)
    (folder / "file").write_text("touched")
    Written("one").ensure(folder)
    assert Written("one").version(folder) == "touched"
    Written("two").ensure(folder)
    assert Written("two").version(folder) == "two"


def test_half_an_installation_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    with pytest.raises(InstallationError, match="half way"):
        Written("one", works=False).ensure(folder)
    Written("one").ensure(folder)
    assert Written("one").version(folder) == "one"


def test_an_environment_without_packages_is_a_python(tmp_path: Path) -> None:
    packages = PythonPackages(("some-package",))
    with pytest.raises(InstallationError, match="some_package is not in"):
        packages.version(tmp_path)
    (tmp_path / "lib/python3.11/site-packages/Some_Package-1.2.dist-info").mkdir(parents=True)
    (tmp_path / "lib/python3.11/site-packages/some_package_more-9.dist-info").mkdir(parents=True)
    assert packages.version(tmp_path) == "1.2"


@pytest.mark.parametrize(
    ("installation", "words"),
    [
        (DebianPackages(("nginx",)), "nginx: apt-get is not here"),
        (NpmPackage("@portkey-ai/gateway"), "@portkey-ai/gateway: npm is not here"),
    ],
)
def test_a_missing_installer_is_named(
    installation: Installation, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallationError, match=words):
        installation.ensure(tmp_path / "peer")


def test_disk_counts_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(bytes(1_000_000))
    os.link(tmp_path / "a" / "one", tmp_path / "a" / "again")
    (tmp_path / "a" / "pointer").symlink_to(tmp_path / "a" / "one")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(bytes(500_000))
    assert disk_mb(tmp_path / "a", tmp_path / "b") == pytest.approx(1.5, abs=0.05)
