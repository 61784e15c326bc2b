"""Random ids, drawn from the system many at a time: a system call for each would cost more than a request's metrics."""

import os
from collections.abc import Iterator

DRAWN_AT_ONCE = 256


def hex_ids(digits: int) -> Iterator[str]:
    """Endless ids of so many hex digits, an even number; nobody can tell the next one from those before."""
    while True:
        drawn = os.urandom(digits // 2 * DRAWN_AT_ONCE).hex()
        for start in range(0, len(drawn), digits):
            yield drawn[start : start + digits]
