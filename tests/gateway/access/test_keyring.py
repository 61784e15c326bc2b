"""A worker's copy of the keys goes on following the store, whatever the store raises."""

from collections.abc import Mapping

from gateway.access.keyring import Keyring
from gateway.access.keys import KeyRecord, new_key
from tests.support.eventually import eventually


class FaultyStore:
    """Gives nothing, then fails in a way that no store has declared, then gives a key."""

    place = "a test"

    def __init__(self, record: KeyRecord) -> None:
        self._record = record
        self._loads = 0

    async def load(self) -> Mapping[str, KeyRecord]:
        self._loads += 1
        if self._loads == 2:
            raise RuntimeError("can't start new thread")
        return {} if self._loads == 1 else {self._record.id: self._record}

    async def save(self, record: KeyRecord) -> None:
        self._record = record


async def test_an_unforeseen_failure_does_not_end_the_following() -> None:
    record = new_key("alice").record
    keyring = Keyring(FaultyStore(record), refresh_s=0.01)
    await keyring.start()
    try:

        async def is_known() -> bool:
            return record.id in keyring.records()

        await eventually(is_known)
    finally:
        await keyring.aclose()
