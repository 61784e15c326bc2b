"""What the benchmark knows of a gateway: how it is installed and started, how to ask it, what it has switched on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.gateways.installation import Installation

MOCK_MODEL = "mock"
"""The name under which the upstream serves."""
ASK = "Name the capital of the country that borders France in the south and say in one sentence why it was chosen."


@dataclass(frozen=True)
class Place:
    """Where a gateway is started: its installation, a folder to write in, its port, what stands behind it."""

    installed: Path
    scratch: Path
    port: int
    upstream_url: str
    redis_url: str

    @property
    def python(self) -> str:
        """The interpreter of an environment."""
        return str(self.installed / "bin" / "python")


@dataclass(frozen=True)
class Launch:
    """How to start a gateway and how to ask it."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    model: str = MOCK_MODEL
    path: str = "/v1/chat/completions"
    headers: tuple[str, ...] = ()
    port_file: Path | None = None
    """Where the gateway writes its port, if it does not take ours."""


@dataclass(frozen=True)
class Features:
    """What is switched on while a gateway is measured; "-" is: it has none, or it is off."""

    routing: str = "-"
    keys: str = "-"
    limits: str = "-"
    retries: str = "-"
    health: str = "-"
    metrics: str = "-"
    decisions: str = "-"


@dataclass(frozen=True)
class Gateway:
    """One row of the tables."""

    name: str
    installation: Installation
    launch: Callable[[Place], Launch]
    features: Features
    note: str = ""
    group: Literal["ours", "quick", "slow"] = "slow"
    folder: str = ""
    """Folder of the installation, where several rows share one; else the name."""
    asks: Literal["new", "repeated"] = "new"
    workers: int = 1
    is_streamed: bool = True
    """Streams and idle streams are measured too."""

    @property
    def installs_as(self) -> str:
        """Name of the installation's folder."""
        return self.folder or self.name
