"""Which headers pass the gateway, each way. Everything that is not named here stays behind.

A client's credentials, cookies, forwarding and hop-by-hop headers never reach a model; a server's own never reach a
client. Values that could split a header or blow one up are dropped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from gateway.upstream.base import Replica

TO_UPSTREAM = ("accept", "traceparent", "tracestate", "baggage", "anthropic-version", "anthropic-beta")
FROM_UPSTREAM = ("retry-after", "retry-after-ms")

_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_SAFE_VALUE = re.compile(r"[\x20-\x7e]{1,1024}")


def header_map(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; one that stands twice is joined with a comma, so that neither half is overlooked."""
    named = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]
    headers = dict(named)
    if len(headers) < len(named):
        headers.clear()
        for name, value in named:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def request_id(headers: Mapping[str, str], fresh: Iterator[str]) -> str:
    """The caller's `x-request-id` if it is safe to repeat in headers and logs, else a `fresh` one."""
    given = headers.get("x-request-id")
    return given if given is not None and _SAFE_REQUEST_ID.fullmatch(given) else next(fresh)


def upstream_headers(headers: Mapping[str, str], request_id: str, replica: Replica) -> dict[str, str]:
    """What a replica is sent. It is asked not to compress: the gateway reads and relays, it does not unpack."""
    passed = {"content-type": "application/json", "accept-encoding": "identity", "x-request-id": request_id}
    for name in TO_UPSTREAM:
        if name in headers and _SAFE_VALUE.fullmatch(headers[name]):
            passed[name] = headers[name]
    if replica.api_key is not None:
        passed["authorization"] = f"Bearer {replica.api_key}"
    return passed


def kept_headers(upstream: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a client is shown of an upstream's headers beside the content type."""
    return [(name, upstream[name]) for name in FROM_UPSTREAM if _SAFE_VALUE.fullmatch(upstream.get(name, ""))]
