"""The demo's gateway: `gateway serve` as a process, awaited until it is ready, always stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy" / "demo" / "gateway.yaml"
LOG = ROOT / ".cache" / "demo" / "gateway.log"
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
PROGRESS_EVERY_S = 10.0


class GatewayProcessError(Exception):
    """The gateway did not come up, or went away; the message holds its last words."""


class GatewayProcess:
    """The process: in a session of its own, which Ctrl-C does not reach, and under guard, which never outlives us."""

    def __init__(self, port: int, engine_url: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._environment = {**os.environ, "DEMO_ENGINE_URL": engine_url, "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to LOG."""
        LOG.parent.mkdir(parents=True, exist_ok=True)
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(CONFIG), "--port", str(self._port)]
        with LOG.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.demo.guard", *serve],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raise GatewayProcessError with its last words when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            words = "\n".join(LOG.read_text(errors="replace").splitlines()[-8:])
            raise GatewayProcessError(f"the gateway ended with status {self._process.returncode}:\n{words}")

    def wait_until_ready(self, say: Callable[[str], None]) -> None:
        """Return when /readyz says so."""
        began = time.monotonic()
        spoke = began
        while (now := time.monotonic()) < began + READY_TIMEOUT_S:
            self.check_alive()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == httpx.codes.OK:
                    return
            if now - spoke >= PROGRESS_EVERY_S:
                spoke = now
                say(f"  still waiting for the gateway, {now - began:.0f} s")
            time.sleep(0.3)
        raise GatewayProcessError(
            f"the gateway is not ready after {READY_TIMEOUT_S:.0f} s; its log is {LOG.relative_to(ROOT)}"
        )

    def stop(self) -> None:
        """Stop it, gently first. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
