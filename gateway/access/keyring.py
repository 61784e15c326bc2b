"""A worker's own copy of the keys, so that no request waits for a store to look one up.

The control document brings them (gateway/control/follower.py). While its store is away the last copy goes on serving:
revocation is then as stale as the outage is long. Without any copy nobody is let in.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.access.keys import KeyRecord
from gateway.errors import StateUnavailableError
from gateway.observability.logs import log_event

RETRY_AFTER_S: Final = 1.0
_logger = logging.getLogger(__name__)


class Keyring:
    """The keys by id; none are known until `replace` has brought the first copy."""

    def __init__(self) -> None:
        self._records: Mapping[str, KeyRecord] | None = None

    @property
    def is_loaded(self) -> bool:
        """True once there has been a first copy."""
        return self._records is not None

    def replace(self, records: Iterable[KeyRecord]) -> None:
        """Take these keys and no others from now on."""
        after = {record.id: record for record in records}
        if after == self._records:
            # The guard keeps what it has made of a copy for as long as that copy is there.
            return
        if not after:
            log_event(_logger, "no_keys", level=logging.WARNING)
        self._records = after

    def records(self) -> Mapping[str, KeyRecord]:
        """The last copy. Raises StateUnavailableError if there never was one."""
        if self._records is None:
            raise StateUnavailableError(
                "API keys cannot be checked now; try again shortly", retry_after_s=RETRY_AFTER_S
            )
        return self._records
