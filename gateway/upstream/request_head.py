"""Writes the head of a request: nothing in it can end a line early or change how the body is framed.

A name or value with CR, LF or NUL, a header that frames the message, and an address that is no plain URL are refused
with ValueError; the message names the header and never its value, which may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"[!-~]+")
_METHOD = re.compile(r"[A-Z]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(r"[\r\n\0]")
# What this client says of a message itself.
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "transfer-encoding", "te", "trailer", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where connections go. `host` is a name or an IP address, an IPv6 one without brackets."""

    is_tls: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """One method and URL: whom to ask, and the first lines of every request to it."""

    address: Address
    first_lines: str


def target_of(method: str, url: str) -> Target:
    """The target of an absolute http(s) URL that is already encoded. Raises ValueError."""
    # urlsplit drops line breaks without a word, so they are looked for before.
    if not _URL.fullmatch(url) or not _METHOD.fullmatch(method):
        raise ValueError(f"{method!r} {url!r} is no method and URL that fit a request line")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not an http(s) URL")
    port = parts.port or _PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = host if port == _PORTS[parts.scheme] else f"{host}:{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        Address(parts.scheme == "https", parts.hostname, port), f"{method} {path} HTTP/1.1\r\nhost: {shown}\r\n"
    )


def request_head(target: Target, headers: Mapping[str, str], body_bytes: int) -> bytes:
    """The head, up to and with its blank line. Raises ValueError for a header that cannot be sent."""
    lines = [target.first_lines]
    for name, value in headers.items():
        _refuse_name(name)
        lines.append(f"{name}: {value}\r\n")
    lines.append(f"content-length: {body_bytes}\r\n\r\n")
    head = "".join(lines)
    # Request line, host and content-length end in a line break each, and a blank line follows.
    breaks = len(headers) + 4
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        name = next(name for name, value in headers.items() if _BREAKS.search(value))
        raise ValueError(f"header {name!r} holds a line break or NUL")
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError as error:
        name = next(name for name, value in headers.items() if not _fits_latin_1(value))
        raise ValueError(f"header {name!r} holds a letter that no header can carry") from error


@lru_cache(maxsize=256)
def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.lower() in _FRAMING:
        raise ValueError(f"{name!r} is not a header that a request may be given")


def _fits_latin_1(text: str) -> bool:
    return all(ord(letter) < 256 for letter in text)
