"""What requests are served by, and how it is changed while they run.

A `Serving` is never changed, only replaced, in one assignment: a request takes the one of the moment when its body is
there, decides by it and is answered by it, whatever happens meanwhile. Models that are removed finish what they began.

Promises: a control document takes effect as a whole or not at all, but for its keys, which the follower takes: models,
replicas and router at once, when the new bundle is verified, its encoder is loaded and new servers have been asked for
their health; loading is no burden on the event loop. A router that nothing has changed for is kept, encoder and cache
with it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.control.document import ControlDocument, effective
from gateway.errors import ConfigError
from gateway.routing.base import Policy
from gateway.routing.router import Router
from gateway.settings import PriceSettings, Settings
from gateway.upstream.health import Servers
from gateway.upstream.pool import Pool

# A decision takes no longer than the encoder's deadline; so long after it its router is done.
RETIRE_MARGIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything that a request needs of what can change. `version` is the control document's."""

    version: int
    settings: Settings
    pool: Pool
    router: Router
    prices: Mapping[str | None, PriceSettings | None]


Build = Callable[[Settings, Policy | None], Serving]
"""A serving of some settings, with the policy if there is one to keep, else with one that is still to be started."""


class Live:
    """Holds the serving in use. `on_switch` hears of every one that is, at the same moment.

    There is no document as long as none could be read.
    """

    def __init__(
        self,
        configured: Settings,
        *,
        build: Build,
        servers: Servers,
        on_switch: Callable[[Serving], None],
    ) -> None:
        self._configured = configured
        self._build = build
        self._servers = servers
        self._on_switch = on_switch
        self._switching = asyncio.Lock()
        self._retired: dict[Router, asyncio.Task[None]] = {}
        self.serving = build(configured, None)

    async def start(self, document: ControlDocument | None) -> None:
        """Begin to serve, with the document over the configuration if there is one.

        Raises ConfigError or BundleError in one line.
        """
        if document is not None:
            settings = effective(self._configured, document)
            if settings != self.serving.settings:
                self.serving = self._build(settings, None)
            self.serving = replace(self.serving, version=document.version)
        await self.serving.router.start()
        _check_digest(self.serving.router, document)
        self._on_switch(self.serving)
        self._servers.use(self.serving.pool)
        await self._servers.start()

    async def apply(self, document: ControlDocument) -> None:
        """Serve what the document says from now on. Raises ConfigError or BundleError, and all stays as it is."""
        async with self._switching:
            before = self.serving
            settings = effective(self._configured, document)
            if settings == before.settings and _has_bundle(before.router, document):
                after = before
            else:
                after = await self._prepared(settings, document)
            after = replace(after, version=document.version)
            # No await from here on: requests see all of it or nothing.
            self.serving = after
            self._on_switch(after)
            self._servers.use(after.pool)
            if after.router.policy is not before.router.policy:
                self._retire(before)

    async def aclose(self) -> None:
        """Stop every router."""
        retired = dict(self._retired)
        for task in retired.values():
            task.cancel()
        await asyncio.gather(*retired.values(), return_exceptions=True)
        for router in (*retired, self.serving.router):
            await router.aclose()

    async def _prepared(self, settings: Settings, document: ControlDocument) -> Serving:
        before = self.serving
        if _policies_agree(settings, before.settings) and _has_bundle(before.router, document):
            serving = self._build(settings, before.router.policy)
            await self._servers.prepare(serving.pool)
            return serving
        serving = self._build(settings, None)
        async with contextlib.AsyncExitStack() as unless_ready:
            unless_ready.push_async_callback(serving.router.aclose)
            await serving.router.start()
            _check_digest(serving.router, document)
            if not serving.router.is_ready:
                raise ConfigError("bundle: its encoder does not answer; the log says why")
            await self._servers.prepare(serving.pool)
            unless_ready.pop_all()
        return serving

    def _retire(self, serving: Serving) -> None:
        """Stop the router of a serving once nobody decides by it any more."""
        router, patience_s = serving.router, serving.settings.router.encoder.timeout_s + RETIRE_MARGIN_S

        async def close_later() -> None:
            await asyncio.sleep(patience_s)
            await router.aclose()
            del self._retired[router]

        self._retired[router] = asyncio.create_task(close_later(), name="retired router")


def _policies_agree(one: Settings, other: Settings) -> bool:
    """True if the same policy would be built from both."""
    return one.router == other.router and _router_names(one) == _router_names(other)


def _router_names(settings: Settings) -> list[tuple[str, str | None]]:
    """The models that the policy may know: with a bundle those alone that it ranks."""
    is_learned = settings.router.policy == "learned"
    return [
        (model.name, model.router_name) for model in settings.models if not is_learned or model.router_name is not None
    ]


def _has_bundle(router: Router, document: ControlDocument) -> bool:
    return document.bundle is None or document.bundle.digest == router.bundle_digest


def _check_digest(router: Router, document: ControlDocument | None) -> None:
    if document is not None and not _has_bundle(router, document):
        raise ConfigError("bundle: it has another digest than the control document says")
