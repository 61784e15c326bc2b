"""The FastAPI app behind the edge: documentation, the list of models, probes and metrics.

Nothing here is on the path of a model's answer. FastAPI's own errors come out in OpenAI's nested shape, and what it
would call 422 is 400.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.access.guard import Guard
from gateway.control.live import Live
from gateway.errors import (
    GatewayError,
    MethodNotAllowedError,
    ModelNotFoundError,
    RequestError,
    UnknownPathError,
)
from gateway.http.drain import Drain
from gateway.http.endpoints import ENDPOINTS
from gateway.http.headers import header_map
from gateway.http.record import DIGEST_CHARACTERS
from gateway.http.report import Report
from gateway.observability.metrics import Metrics
from gateway.routing.costs import MAX_COST_HEADER, QUALITY_HEADER

TITLE = "RouterDC Gateway"


def build_api(*, guard: Guard, live: Live, metrics: Metrics, report: Report, drain: Drain, started_at: int) -> FastAPI:
    """The app. `started_at` is the Unix time that models are listed with."""
    api = FastAPI(title=TITLE, description="One OpenAI-compatible endpoint in front of many models.")
    _add_error_shapes(api)
    _add_models(api, guard, live, started_at)
    _add_probes(api, guard, live, metrics, report, drain)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def _add_models(api: FastAPI, guard: Guard, live: Live, started_at: int) -> None:
    def entry(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started_at, "owned_by": "routerdc-gateway"}

    async def visible(request: Request, response: Response) -> list[str]:
        principal, headers = await guard.admit(header_map(request.scope["headers"]))
        response.headers.update(dict(headers))
        settings, allowed = live.serving.settings, principal.allowed_models
        names = [model.name for model in settings.models if allowed is None or model.name in allowed]
        return [*settings.router.aliases, *names]

    @api.get("/v1/models", tags=["models"], summary="List what `model` may name.")
    async def list_models(request: Request, response: Response) -> dict[str, Any]:
        return {"object": "list", "data": [entry(name) for name in await visible(request, response)]}

    @api.get("/v1/models/{name:path}", tags=["models"], summary="One model.")
    async def retrieve_model(name: str, request: Request, response: Response) -> dict[str, Any]:
        if name not in await visible(request, response):
            raise ModelNotFoundError(f"model {name!r} is not served here; GET /v1/models lists what is", param="model")
        return entry(name)


def _add_probes(api: FastAPI, guard: Guard, live: Live, metrics: Metrics, report: Report, drain: Drain) -> None:
    @api.get("/health", tags=["probes"], include_in_schema=False)
    @api.get("/healthz", tags=["probes"], summary="The process answers.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/ready", tags=["probes"], include_in_schema=False)
    @api.get("/readyz", tags=["probes"], summary="Keys are known, the router can decide, a model is up.")
    async def readyz() -> JSONResponse:
        serving, router = live.serving, live.serving.router
        models = {model.name: serving.pool.is_healthy(model.name) for model in serving.settings.models}
        is_ready = guard.is_ready and router.is_ready and any(models.values()) and not drain.has_begun
        digest = router.bundle_digest
        document = {
            "status": "ready" if is_ready else "not_ready",
            "keys_known": guard.is_ready,
            "router_ready": router.is_ready,
            "encoder_up": router.encoder_is_up,
            "bundle": digest[:DIGEST_CHARACTERS] if digest is not None else None,
            "control_version": serving.version,
            "models": models,
            "shutting_down": drain.has_begun,
        }
        return JSONResponse(document, status_code=200 if is_ready else 503)

    @api.get("/metrics", tags=["probes"], summary="Prometheus metrics.", response_class=Response)
    async def show_metrics() -> Response:
        report.tell()
        body, content_type = metrics.render()
        return Response(body, headers={"content-type": content_type})


def _add_error_shapes(api: FastAPI) -> None:
    @api.exception_handler(GatewayError)
    async def on_gateway_error(_: Request, error: GatewayError) -> Response:
        return _error_response(error)

    @api.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        path, method = request.scope["path"][:200], request.scope["method"]
        if error.status_code == 405:
            return _error_response(MethodNotAllowedError(f"{path} does not take {method}"), error.headers)
        if error.status_code == 404:
            return _error_response(UnknownPathError(f"nothing is served under {path}"))
        return _error_response(RequestError(str(error.detail)))

    @api.exception_handler(RequestValidationError)
    async def on_validation_error(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return _error_response(RequestError(f"{where}: {fault['msg']}", param=where))

    @api.exception_handler(Exception)
    async def on_fault(_: Request, __: Exception) -> Response:
        return _error_response(GatewayError("the gateway failed; its log has the details"))


def _error_response(error: GatewayError, headers: Any = None) -> Response:
    return Response(
        error.body(),
        status_code=error.status,
        media_type="application/json",
        headers={**dict(headers or {}), **dict(error.headers())},
    )


def _openapi(api: FastAPI) -> dict[str, Any]:
    """FastAPI's schema with the inference endpoints, which it does not see, added."""
    if api.openapi_schema is None:
        schema = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes, tags=None
        )
        schema["paths"] |= {endpoint.path: {"post": _operation(endpoint.summary)} for endpoint in ENDPOINTS.values()}
        api.openapi_schema = schema
    return api.openapi_schema


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_ROUTING_HEADERS = [
    _header("x-session-id", "A conversation, which keeps its model.", type="string"),
    _header(QUALITY_HEADER, "1: quality alone, 0: cost alone.", type="number", minimum=0, maximum=1),
    _header(MAX_COST_HEADER, "Most that the request may be expected to cost.", type="number", minimum=0),
    _header("x-gateway-debug", "1: the answer's headers tell the whole ranking.", type="string"),
]


def _operation(summary: str) -> dict[str, Any]:
    model = {"type": "string", "description": "A served model, or `auto` to be routed."}
    body = {"type": "object", "required": ["model"], "properties": {"model": model}, "additionalProperties": True}
    return {
        "tags": ["inference"],
        "summary": summary,
        "parameters": _ROUTING_HEADERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The model's answer; an event stream if `stream` is true."},
            "default": {"description": "An error in OpenAI's shape: `{error: {message, type, param, code}}`."},
        },
    }
