"""The cost-quality dial that a client sets by header, with that of its key.

`x-gateway-quality` (0..1) stands instead of the key's; `x-gateway-max-cost` can only lower the key's cap. Like every
header that is not named in headers.py they stay here: no upstream is told what a client is willing to pay.
"""

import re
from collections.abc import Mapping

from gateway.access.base import Principal
from gateway.errors import RequestError
from gateway.routing.base import NO_DIAL, Dial
from gateway.routing.costs import MAX_COST_HEADER, QUALITY_HEADER

_NUMBER = re.compile(r"(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,2})?", re.ASCII)
SHOWN_CHARACTERS = 32


def read_dial(headers: Mapping[str, str], principal: Principal) -> Dial:
    """The dial of a request. Raises RequestError that names the header whose value is none."""
    if QUALITY_HEADER not in headers and MAX_COST_HEADER not in headers and principal.has_no_dial:
        return NO_DIAL
    quality = _number(headers, QUALITY_HEADER, "a number from 0 (cost alone) to 1 (quality alone)", most=1.0)
    return Dial(
        quality=principal.quality if quality is None else quality,
        max_cost=_number(headers, MAX_COST_HEADER, "a cost such as 0.002", most=None),
        key_max_cost=principal.max_cost,
    )


def _number(headers: Mapping[str, str], name: str, expected: str, *, most: float | None) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else None
    if value is None or (most is not None and value > most):
        raise RequestError(f"{name}: {text[:SHOWN_CHARACTERS]!r} is not {expected}", param=name)
    return value
