"""What a client is told when a model's server answers with an error.

A refusal of the request (4xx) is the client's to see, in OpenAI's nested shape whatever shape it came in. Everything
else is between the gateway and the server: 401 and 403 are about the gateway's own key and become 502, and a 5xx is
told without the server's words, which may hold its paths or addresses.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import GatewayError, UpstreamError, UpstreamProtocolError, UpstreamUnavailableError
from gateway.http.headers import kept_headers
from gateway.upstream.base import UpstreamAnswer

MAX_REFUSAL_BYTES = 256 * 1024
MAX_MESSAGE_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 4xx to pass on."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


def server_failure(answer: UpstreamAnswer, model: str) -> GatewayError | None:
    """The error that stands for the server's, None if the answer is good or refuses the request."""
    status = answer.status
    if 200 <= status < 300:
        return None
    kept = kept_headers(answer.headers)
    if status in {401, 403}:
        return UpstreamError(f"the server of model {model!r} does not accept this gateway; its operator must look")
    if 400 <= status < 500:
        return None
    if status == 503:
        return UpstreamUnavailableError(f"the server of model {model!r} cannot answer now", extra_headers=kept)
    if status >= 500:
        return UpstreamError(f"the server of model {model!r} failed (status {status})", extra_headers=kept)
    return UpstreamProtocolError(f"the server of model {model!r} answered with status {status}")


async def refusal_of(answer: UpstreamAnswer) -> Refusal:
    """A 4xx answer in OpenAI's shape; 422 becomes 400."""
    body = b""
    while chunk := await answer.read():
        body += chunk
        if len(body) > MAX_REFUSAL_BYTES:
            body = b""
            break
    status = 400 if answer.status == 422 else answer.status
    return Refusal(status, _nested(body, answer.status), kept_headers(answer.headers))


def _nested(body: bytes, status: int) -> bytes:
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = None
    document = document if isinstance(document, dict) else {}
    error = document.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return body
    told = document if isinstance(document.get("message"), str) else {}
    message = told.get("message") or _detail(document.get("detail") or error)
    wrapped = {
        "message": message or f"the model's server refused the request with status {status}",
        "type": told.get("type") or ("rate_limit_error" if status == 429 else "invalid_request_error"),
        "param": told.get("param"),
        "code": told.get("code") or "upstream_refused",
    }
    return msgspec.json.encode({"error": wrapped})


def _detail(detail: Any) -> str:
    """FastAPI's `detail`: a text, or a list of faults."""
    if isinstance(detail, str):
        return detail[:MAX_MESSAGE_CHARACTERS]
    faults = [fault for fault in detail if isinstance(fault, dict)] if isinstance(detail, list) else []
    told = [f"{'.'.join(map(str, fault.get('loc') or []))}: {fault.get('msg')}" for fault in faults]
    return "; ".join(told)[:MAX_MESSAGE_CHARACTERS]
