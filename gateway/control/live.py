"""What requests are served by, and how it is changed while they run.

A `Serving` is never changed, only replaced, in one assignment: a request takes the one of the moment when its body is
there, decides by it and is answered by it, whatever happens meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.routing.router import Router
from gateway.settings import PriceSettings, Settings
from gateway.upstream.pool import Pool


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything that a request needs of what can change. `version` is the control document's."""

    version: int
    settings: Settings
    pool: Pool
    router: Router
    prices: Mapping[str | None, PriceSettings | None]


class Live:
    """Holds the one in use."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
