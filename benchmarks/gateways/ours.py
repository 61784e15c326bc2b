"""This project's gateway as it is meant to run: keys, limits, metrics, decisions kept and retries on, access log off.

It runs from the working tree on the locked dependencies of the base install. Each row differs from the first in one
thing: who chooses the model, whether its decision is known already, where the state lives, how many workers there are.
"""

import json
import os
import subprocess
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gateways.base import MOCK_MODEL, Features, Gateway, Launch, Place
from benchmarks.gateways.installation import Installation, InstallationError, disk_mb, make_environment
from router_core.bundle import load_bundle
from router_core.errors import BundleError

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "build" / "router"
LOCK = ROOT / "constraints" / "gateway.txt"
# Never reached, and counted all the same.
REQUESTS_PER_MINUTE = 1_000_000_000
KEY_TIMEOUT_S = 60


class BaseInstall(Installation):
    """The locked dependencies of the base install in an environment; the gateway itself comes from the working tree."""

    def fill(self, folder: Path) -> None:
        """Exactly the lock."""
        make_environment(folder, ("--no-deps", "-r", str(LOCK)), "the base install")

    def version(self, folder: Path) -> str:
        """Of this project."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])

    def made_from(self) -> str:
        """The lock."""
        return LOCK.read_text(encoding="utf-8")

    def size_mb(self, folder: Path) -> float:
        """With the packages that a base install puts beside the dependencies."""
        return disk_mb(folder, ROOT / "gateway", ROOT / "router_core")


def launch(place: Place, *, routed: bool = False, redis: bool = False, workers: int = 1) -> Launch:
    """`gateway serve` with a key of its own. Raises InstallationError: no bundle, or no key could be made."""
    configuration = place.scratch / "gateway.yaml"
    if redis and not place.redis_url:
        raise InstallationError("redis-server is not here: apt-get install redis-server")
    document = settings_document(place, redis=redis, workers=workers)
    configuration.write_text(json.dumps(document))
    environment = {"PYTHONPATH": str(ROOT)}
    gateway = (place.python, "-m", "gateway")
    key = _new_key((*gateway, "keys", "create", "--name", "benchmark", "--config", str(configuration)), environment)
    return Launch(
        command=(*gateway, "serve", "--config", str(configuration)),
        environment=environment,
        model="auto" if routed else MOCK_MODEL,
        headers=(f"authorization: Bearer {key}",),
    )


def settings_document(place: Place, *, redis: bool, workers: int) -> dict[str, Any]:
    """The configuration, as the YAML document that `gateway serve` reads."""
    try:
        routed = load_bundle(BUNDLE).models
    except BundleError as error:
        raise InstallationError(
            f"the default router is not in build/router; `make router` trains it: {error}"
        ) from error
    replicas = [{"base_url": f"{place.upstream_url}/v1"}]
    models: list[dict[str, Any]] = [{"name": name, "router_name": name, "replicas": replicas} for name in routed]
    document: dict[str, Any] = {
        "version": 1,
        "server": {"host": "127.0.0.1", "port": place.port, "workers": workers},
        "models": [*models, {"name": MOCK_MODEL, "replicas": replicas}],
        "router": {"policy": "learned", "bundle": str(BUNDLE), "default_model": routed[0]},
        "access": {"require_keys": True, "requests_per_minute": REQUESTS_PER_MINUTE},
        # The whole load goes to one replica.
        "upstream": {"max_connections_per_replica": 4096},
        "decisions": {"path": str(place.scratch / "decisions")},
        "log": {"access": False},
    }
    if redis:
        document["state"] = {"redis_url": place.redis_url}
    return document


def _new_key(command: tuple[str, ...], environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=KEY_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallationError(f"no key was made within {KEY_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise InstallationError(f"no key could be made: {done.stderr.strip()}")
    return done.stdout.strip()


def _row(name: str, note: str, *, routing: str = "models by name", state: str = "memory", **options: Any) -> Gateway:
    variant: dict[str, Any] = {key: options.pop(key) for key in ("routed", "redis") if key in options}
    return Gateway(
        name=name,
        installation=BaseInstall(),
        launch=partial(launch, **variant, workers=options.get("workers", 1)),
        features=Features(
            routing=routing,
            keys="on",
            limits=f"on, in {state}",
            retries="on",
            health="on",
            metrics="on",
            decisions="on",
        ),
        note=note,
        group="ours",
        folder="gateway",
        **options,
    )


EXPLICIT, ROUTED, CACHED, REDIS, TWO_WORKERS = "ours", "ours-auto", "ours-auto-cached", "ours-redis", "ours-2-workers"

GATEWAYS = (
    _row(EXPLICIT, "the request names its model"),
    _row(
        ROUTED,
        "`auto`: the default router, encoder `features`, decides each new ask",
        routing="learned",
        routed=True,
        is_streamed=False,
    ),
    _row(
        CACHED,
        "`auto`, asks that repeat, so that the decision is in the cache",
        routing="learned, decision cache",
        routed=True,
        asks="repeated",
        is_streamed=False,
    ),
    _row(
        REDIS, "as `ours`, state in Redis, whose own CPU is not counted", state="Redis", redis=True, is_streamed=False
    ),
    _row(
        TWO_WORKERS,
        "as `ours-redis` with two workers on both cores, which limits shared by workers need",
        state="Redis",
        redis=True,
        workers=2,
        is_streamed=False,
    ),
)
