"""Changes of the control document: each is a function from one document to the next, made in one place.

Promises: a change that would not do is refused before it is written, with the line that says why: the new document
passes every check that a worker makes, its bundle is loaded and verified. Without an expected version a change is made
again on a document that somebody else has changed meanwhile.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from gateway.access.keys import KeyRecord
from gateway.control.document import BundleChoice, ControlDocument, effective
from gateway.control.store import ControlStore
from gateway.errors import ConfigError, StateUnavailableError, VersionConflictError
from gateway.routing.mapping import map_models
from gateway.settings import Settings
from gateway.settings_file import first_fault
from router_core.bundle import load_bundle
from router_core.errors import BundleError

ATTEMPTS: Final = 8
RELOAD_PATIENCE_S: Final = 2.0
# An unknown key gets the same answer as a revoked one, so that the document need not grow for ever.
REVOKED_KEPT_FOR: Final = timedelta(days=30)
Edit = Callable[[ControlDocument], Mapping[str, Any]]
"""The parts of a document that become others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """Where changes are made: the configuration as it was read, and the document over it."""

    configured: Settings
    store: ControlStore

    async def change(self, edit: Edit, *, expected: int | None = None) -> ControlDocument:
        """Make a change; the document as it is then. `expected` is the version that it must be made from.

        Raises ConfigError (the change will not do), VersionConflictError, and what the store's `save` raises.
        """
        for _ in range(ATTEMPTS):
            before = await self.store.load()
            if expected is not None and expected != before.version:
                raise VersionConflictError(
                    f"the control document has version {before.version}, not {expected}; look again"
                )
            after = await asyncio.to_thread(_edited, before, edit)
            if after.routes_as != before.routes_as:
                await asyncio.to_thread(check, self.configured, after)
            try:
                await self.store.save(after)
            except VersionConflictError:
                if expected is not None:
                    raise
                continue
            except StateUnavailableError as error:
                if not await self._is_stored(after):
                    raise StateUnavailableError(
                        "the store did not answer: look at the document before you make the change again",
                        retry_after_s=error.retry_after_s,
                    ) from error
            return after
        raise VersionConflictError("the control document is being changed by others all the time; try again")

    async def _is_stored(self, document: ControlDocument) -> bool:
        """True if a change whose answer was lost was made. False too if the store does not answer again."""
        try:
            async with asyncio.timeout(RELOAD_PATIENCE_S):
                while True:
                    try:
                        return await self.store.load() == document
                    except StateUnavailableError:
                        await asyncio.sleep(0.1)
        except TimeoutError:
            return False

    async def set_model(self, entry: Mapping[str, Any], *, expected: int | None = None) -> ControlDocument:
        """Serve a model, or serve it differently; `entry` as in the configuration's `models`. As `change`."""
        name = entry.get("name")

        def edit(document: ControlDocument) -> Mapping[str, Any]:
            kept = [model for model in document.models if model["name"] != name]
            removed = [removed for removed in document.removed_models if removed != name]
            return {"models": [*kept, dict(entry)], "removed_models": removed}

        return await self.change(edit, expected=expected)

    async def remove_model(self, name: str, *, expected: int | None = None) -> ControlDocument:
        """Serve a model no more. As `change`; ConfigError if no such model is served."""
        configured = {model.name for model in self.configured.models}

        def edit(document: ControlDocument) -> Mapping[str, Any]:
            kept = [model for model in document.models if model["name"] != name]
            is_gone = name in document.removed_models or (len(kept) == len(document.models) and name not in configured)
            if is_gone:
                raise ConfigError(f"model {name!r} is not served")
            removed = [*document.removed_models, *([name] if name in configured else [])]
            return {"models": kept, "removed_models": removed}

        return await self.change(edit, expected=expected)

    async def set_bundle(self, path: Path, *, expected: int | None = None) -> ControlDocument:
        """Route by the bundle in the folder `path`. As `change`; ConfigError for one that cannot be trusted."""
        choice = await asyncio.to_thread(_choice, path)
        return await self.change(lambda _: {"bundle": choice}, expected=expected)

    async def add_key(self, record: KeyRecord, *, expected: int | None = None) -> ControlDocument:
        """Let a key in; keys revoked longer than REVOKED_KEPT_FOR ago are forgotten. As `change`."""
        forget_before = datetime.now(UTC) - REVOKED_KEPT_FOR

        def edit(document: ControlDocument) -> Mapping[str, Any]:
            kept = [one for one in document.keys if one.revoked is None or one.revoked > forget_before]
            return {"keys": [*kept, record]}

        return await self.change(edit, expected=expected)

    async def revoke_key(self, key_id: str, *, expected: int | None = None) -> ControlDocument:
        """Let a key in no more. As `change`; ConfigError if there is none of that id."""
        now = datetime.now(UTC).replace(microsecond=0)

        def edit(document: ControlDocument) -> Mapping[str, Any]:
            if all(record.id != key_id for record in document.keys):
                raise ConfigError(f"no key has the id {key_id!r} in {self.store.place}; see `gateway keys list`")
            return {
                "keys": [
                    record.model_copy(update={"revoked": record.revoked or now}) if record.id == key_id else record
                    for record in document.keys
                ]
            }

        return await self.change(edit, expected=expected)


def check(configured: Settings, document: ControlDocument) -> None:
    """Raise ConfigError in one line unless a worker could serve this. Reads the bundle."""
    settings = effective(configured, document)
    router = settings.router
    if router.policy != "learned" or router.bundle is None:
        return
    try:
        bundle = load_bundle(router.bundle)
    except BundleError as error:
        raise ConfigError(f"bundle: {error}") from error
    if document.bundle is not None and bundle.digest != document.bundle.digest:
        raise ConfigError(f"bundle: {router.bundle} has another digest than the document says")
    map_models(settings.models, bundle.models)


def _choice(path: Path) -> BundleChoice:
    try:
        return BundleChoice(path=path.absolute(), digest=load_bundle(path).digest)
    except BundleError as error:
        raise ConfigError(f"bundle: {error}") from error


def _edited(before: ControlDocument, edit: Edit) -> ControlDocument:
    values = {name: getattr(before, name) for name in ControlDocument.model_fields}
    try:
        after = ControlDocument.model_validate({**values, **edit(before), "version": before.version + 1})
        # As every worker will read it: a document that can be written and not read would end all changes.
        return ControlDocument.model_validate_json(after.model_dump_json())
    except ValidationError as error:
        raise ConfigError(first_fault(error)) from None
    except PydanticSerializationError:
        raise ConfigError("the entry holds what no JSON text can hold, as half a surrogate pair") from None
