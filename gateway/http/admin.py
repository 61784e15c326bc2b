"""/admin/v1: the control document over HTTP, for keys of scope `admin`.

Every change is one call; what the gateway could not serve is refused before it is written, with 400 and the line that
says why. `ETag` is the document's version; with `If-Match` a change is made from that version or answered 412. An
answer tells the new version; this process serves it by then (`live_version`) unless a bundle takes long to load, and
the other workers follow. Secrets of keys are told once, when they are made, and keys for administration are made on the
command line alone.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.access.guard import Guard
from gateway.access.keys import KeyRecord, new_key
from gateway.control.changes import Control
from gateway.control.document import ControlDocument
from gateway.control.follower import Follower
from gateway.control.live import Live
from gateway.errors import ConfigError, MalformedBodyError, RequestError, UnreadableDocumentError
from gateway.http.body import read_body
from gateway.http.headers import header_map
from gateway.observability.logs import log_event
from gateway.settings import ServerSettings
from gateway.settings_file import first_fault

_VERSION: Final = re.compile(r'"?([0-9]{1,15})"?')
_logger = logging.getLogger(__name__)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class BundleBody(_Body):
    """What PUT /admin/v1/bundle takes: the bundle's folder, at the same place on every host."""

    path: Path


class KeyBody(_Body):
    """What POST /admin/v1/keys takes."""

    name: str
    allowed_models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    scope: Literal["inference"] = "inference"


class Admin:
    """Answers the calls."""

    def __init__(
        self, *, guard: Guard, control: Control, follower: Follower, live: Live, server: ServerSettings
    ) -> None:
        self._guard = guard
        self._control = control
        self._follower = follower
        self._live = live
        self._server = server

    def add_to(self, api: FastAPI) -> None:
        """Serve the calls below /admin/v1."""
        for method, path, endpoint, summary in (
            ("GET", "/control", self.show, "The control document, without secrets."),
            ("POST", "/models", self.set_model, "Serve a model, or serve it differently."),
            ("DELETE", "/models/{name:path}", self.remove_model, "Serve a model no more."),
            ("PUT", "/bundle", self.set_bundle, "Route by another bundle."),
            ("POST", "/keys", self.add_key, "Make a key for requests; its text is told once."),
            ("DELETE", "/keys/{key_id}", self.revoke_key, "Revoke a key."),
        ):
            api.add_api_route("/admin/v1" + path, endpoint, methods=[method], tags=["admin"], summary=summary)

    async def show(self, request: Request) -> Response:
        """GET /admin/v1/control."""
        self._guard.admit_admin(header_map(request.scope["headers"]))
        return self._told(await _asked(self._control.store.load()))

    async def set_model(self, request: Request) -> Response:
        """POST /admin/v1/models; the body is an entry of the configuration's `models`."""
        return await self._changed(request, "set_model", lambda entry, at: self._control.set_model(entry, expected=at))

    async def remove_model(self, name: str, request: Request) -> Response:
        """DELETE /admin/v1/models/NAME."""
        return await self._changed(
            request, "remove_model", lambda _, at: self._control.remove_model(name, expected=at), has_body=False
        )

    async def set_bundle(self, request: Request) -> Response:
        """PUT /admin/v1/bundle."""

        async def change(body: Mapping[str, Any], expected: int | None) -> ControlDocument:
            path = BundleBody.model_validate(body).path
            if not path.is_absolute():
                raise RequestError("path: must be absolute", param="path")
            return await self._control.set_bundle(path, expected=expected)

        return await self._changed(request, "set_bundle", change)

    async def add_key(self, request: Request) -> Response:
        """POST /admin/v1/keys."""
        made: dict[str, Any] = {}

        async def change(body: Mapping[str, Any], expected: int | None) -> ControlDocument:
            asked = KeyBody.model_validate(body)
            key = new_key(asked.name, asked.allowed_models, asked.requests_per_minute)
            made.update(id=key.record.id, key=key.text)
            return await self._control.add_key(key.record, expected=expected)

        return await self._changed(request, "add_key", change, status=201, also=made)

    async def revoke_key(self, key_id: str, request: Request) -> Response:
        """DELETE /admin/v1/keys/ID."""

        async def change(_: Mapping[str, Any], expected: int | None) -> ControlDocument:
            return await self._control.revoke_key(key_id, expected=expected)

        return await self._changed(request, "revoke_key", change, has_body=False)

    async def _changed(
        self,
        request: Request,
        what: str,
        change: Callable[[Mapping[str, Any], int | None], Awaitable[ControlDocument]],
        *,
        has_body: bool = True,
        status: int = 200,
        also: Mapping[str, Any] | None = None,
    ) -> Response:
        """Make a change, serve it here, and tell the document."""
        headers = header_map(request.scope["headers"])
        admin = self._guard.admit_admin(headers)
        expected = _expected(headers.get("if-match"))
        body = await self._body(request, headers) if has_body else {}
        document = await _asked(change(body, expected))
        log_event(_logger, "control_changed", change=what, version=document.version, key=admin)
        await self._follower.look()
        return self._told(document, status=status, also=also)

    async def _body(self, request: Request, headers: Mapping[str, str]) -> Mapping[str, Any]:
        server = self._server
        text = await read_body(
            request.receive, headers, max_bytes=server.max_body_bytes, timeout_s=server.body_timeout_s
        )
        try:
            body = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise MalformedBodyError("the body is not JSON") from None
        if not isinstance(body, dict):
            raise MalformedBodyError("the body is not a JSON object")
        return body

    def _told(self, document: ControlDocument, *, status: int = 200, also: Mapping[str, Any] | None = None) -> Response:
        serving = self._live.serving
        told = {
            **(also or {}),
            "version": document.version,
            "live_version": serving.version,
            "refused": self._follower.why_refused,
            "models": document.models,
            "removed_models": document.removed_models,
            "bundle": None if document.bundle is None else document.bundle.model_dump(mode="json"),
            "keys": [_without_secret(record) for record in document.keys],
            "serving": {
                "models": [model.name for model in serving.settings.models],
                "bundle": serving.router.bundle_digest,
            },
        }
        return JSONResponse(told, status_code=status, headers={"etag": f'"{document.version}"'})


async def _asked(change: Awaitable[ControlDocument]) -> ControlDocument:
    """The document; what will not do is the caller's mistake here, unless it is stored already."""
    try:
        return await change
    except UnreadableDocumentError:
        raise
    except ConfigError as error:
        raise RequestError(error.message) from error
    except ValidationError as error:
        raise RequestError(first_fault(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _expected(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _VERSION.fullmatch(if_match.strip())
    if match is None:
        raise RequestError('if-match: must be a version of the control document, as "3"', param="if-match")
    return int(match[1])


def _without_secret(record: KeyRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"secret_sha256"})
