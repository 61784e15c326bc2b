"""Everything the gateway can refuse or fail at, and what a client is told.

    GatewayError                        500 api_error            internal_error
    ├── ConfigError                     (`gateway` prints it and exits 2; /admin/v1 tells it as 400)
    │   └── UnreadableDocumentError     500 api_error            control_unreadable
    ├── RequestError                    400 invalid_request_error invalid_request
    │   ├── MalformedBodyError          400 invalid_request_error invalid_json
    │   ├── BodyTooLargeError           413 invalid_request_error body_too_large
    │   ├── UnsupportedEncodingError    415 invalid_request_error unsupported_encoding
    │   ├── BodyTimeoutError            408 invalid_request_error body_timeout
    │   ├── VersionConflictError        412 invalid_request_error version_conflict
    │   ├── UnknownPathError            404 invalid_request_error unknown_path
    │   └── MethodNotAllowedError       405 invalid_request_error method_not_allowed
    ├── AuthenticationError             401 authentication_error  invalid_api_key
    ├── PermissionDeniedError           403 permission_error      model_not_allowed
    │   └── CostCapError                403 permission_error      cost_cap_exceeded
    ├── ModelNotFoundError              404 invalid_request_error model_not_found
    ├── RateLimitedError                429 rate_limit_error      rate_limit_exceeded
    ├── UpstreamError                   502 upstream_error        upstream_error
    │   ├── UpstreamConnectError        502 upstream_error        upstream_unreachable
    │   │   ├── UpstreamConnectTimeoutError    504                upstream_connect_timeout
    │   │   └── UpstreamDisconnectedError      502                upstream_disconnected
    │   ├── UpstreamTimeoutError        504 upstream_error        upstream_timeout
    │   │   ├── UpstreamFirstByteTimeoutError  504                upstream_first_byte_timeout
    │   │   ├── UpstreamIdleTimeoutError       504                upstream_idle_timeout
    │   │   └── UpstreamTotalTimeoutError      504                upstream_total_timeout
    │   ├── UpstreamProtocolError       502 upstream_error        upstream_broken_answer
    │   └── UpstreamUnavailableError    503 upstream_error        upstream_unavailable
    ├── NoHealthyUpstreamError          503 overloaded_error      no_healthy_upstream
    ├── StateUnavailableError           503 overloaded_error      state_unavailable
    ├── OutOfDescriptorsError           503 overloaded_error      out_of_descriptors
    └── ShuttingDownError               503 overloaded_error      shutting_down

Every error becomes OpenAI's nested body, `{"error": {"message", "type", "param", "code"}}`, as an HTTP answer before
the first byte and as an SSE event after it. A message says what to do; it never holds a prompt, a key or an upstream's
address.
"""

import json
import math
from collections.abc import Sequence
from typing import ClassVar


class GatewayError(Exception):
    """Base of every error the gateway raises. `param` names the request field at fault, when there is one."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        extra_headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.extra_headers = tuple(extra_headers)

    def body(self) -> bytes:
        """OpenAI's nested error object, UTF-8 JSON."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()

    def sse_event(self) -> bytes:
        """The same object as one server-sent event, for a stream that has already begun."""
        return b"data: " + self.body() + b"\n\n"

    def headers(self) -> list[tuple[str, str]]:
        """`retry-after` in whole seconds and `retry-after-ms`, where waiting helps, then `extra_headers`."""
        if self.retry_after_s is None:
            return list(self.extra_headers)
        seconds, milliseconds = max(1, math.ceil(self.retry_after_s)), math.ceil(self.retry_after_s * 1000)
        return [("retry-after", str(seconds)), ("retry-after-ms", str(milliseconds)), *self.extra_headers]


class ConfigError(GatewayError):
    """The configuration cannot be used; the message names the key's path and the fix."""


class UnreadableDocumentError(ConfigError):
    """The control document that is stored cannot be read: nobody's request is at fault."""

    code = "control_unreadable"


class RequestError(GatewayError):
    """The request itself is wrong."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class MalformedBodyError(RequestError):
    """The body is not a JSON object of the endpoint's form."""

    code = "invalid_json"


class BodyTooLargeError(RequestError):
    """The body is over `server.max_body_bytes`."""

    status, code = 413, "body_too_large"


class UnsupportedEncodingError(RequestError):
    """The body is compressed; the gateway takes identity only."""

    status, code = 415, "unsupported_encoding"


class BodyTimeoutError(RequestError):
    """The body did not arrive within `server.body_timeout_s`."""

    status, code = 408, "body_timeout"


class VersionConflictError(RequestError):
    """The control document has another version than the change was made for."""

    status, code = 412, "version_conflict"


class UnknownPathError(RequestError):
    """Nothing is served under that path."""

    status, code = 404, "unknown_path"


class MethodNotAllowedError(RequestError):
    """The path is served, with another method."""

    status, code = 405, "method_not_allowed"


class AuthenticationError(GatewayError):
    """No key, a malformed key, an unknown key or a revoked key: one answer for all."""

    status, type, code = 401, "authentication_error", "invalid_api_key"


class PermissionDeniedError(GatewayError):
    """The key's allow-list does not hold the model."""

    status, type, code = 403, "permission_error", "model_not_allowed"


class CostCapError(PermissionDeniedError):
    """The request is expected to cost more than its key may spend on one."""

    code = "cost_cap_exceeded"


class ModelNotFoundError(GatewayError):
    """No served model or router alias has that name."""

    status, type, code = 404, "invalid_request_error", "model_not_found"


class RateLimitedError(GatewayError):
    """The key has used up its requests for this window."""

    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class UpstreamError(GatewayError):
    """The model's server failed."""

    status, type, code = 502, "upstream_error", "upstream_error"


class UpstreamConnectError(UpstreamError):
    """No connection to the model's server, or it closed before the first byte: safe to try another model."""

    code = "upstream_unreachable"


class UpstreamConnectTimeoutError(UpstreamConnectError):
    """No connection within `upstream.connect_timeout_s`; nothing was sent."""

    status, code = 504, "upstream_connect_timeout"


class UpstreamDisconnectedError(UpstreamConnectError):
    """The model's server took the connection and closed it before the first byte of an answer."""

    code = "upstream_disconnected"


class UpstreamTimeoutError(UpstreamError):
    """A deadline passed after the request was sent: the model may be working on it, so it is not asked again."""

    status, code = 504, "upstream_timeout"


class UpstreamFirstByteTimeoutError(UpstreamTimeoutError):
    """No answer within `upstream.first_byte_timeout_s`."""

    code = "upstream_first_byte_timeout"


class UpstreamIdleTimeoutError(UpstreamTimeoutError):
    """The answer stood still for `upstream.idle_timeout_s`."""

    code = "upstream_idle_timeout"


class UpstreamTotalTimeoutError(UpstreamTimeoutError):
    """The answer was not complete within `upstream.total_timeout_s`."""

    code = "upstream_total_timeout"


class UpstreamProtocolError(UpstreamError):
    """The model's server answered with something that is not what the endpoint promises, or broke off."""

    code = "upstream_broken_answer"


class UpstreamUnavailableError(UpstreamError):
    """The model's server says that it cannot answer now."""

    status, code = 503, "upstream_unavailable"


class NoHealthyUpstreamError(GatewayError):
    """Every model that could answer is down."""

    status, type, code = 503, "overloaded_error", "no_healthy_upstream"


class StateUnavailableError(GatewayError):
    """Redis is configured, does not answer, and no local copy can stand in."""

    status, type, code = 503, "overloaded_error", "state_unavailable"


class OutOfDescriptorsError(GatewayError):
    """This process may open no more connections: its own limit, which says nothing about a model's server."""

    status, type, code = 503, "overloaded_error", "out_of_descriptors"


class ShuttingDownError(GatewayError):
    """This process is stopping: another one, or the same one in a moment, will answer."""

    status, type, code = 503, "overloaded_error", "shutting_down"
