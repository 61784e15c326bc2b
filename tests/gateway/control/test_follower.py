"""What is taken of a document that is late, will not do, or is older than what is served."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.access.keys import KeyRecord, new_key
from gateway.control.document import ControlDocument
from gateway.control.follower import Follower
from gateway.errors import ConfigError
from tests.support.eventually import eventually

ALICE = new_key("alice").record
ROUTED = {"removed_models": ("gone",)}


class Store:
    """Holds what the test puts there."""

    place = "a test"

    def __init__(self, document: ControlDocument) -> None:
        self.document = document

    async def load(self) -> ControlDocument:
        return self.document

    async def save(self, document: ControlDocument) -> None:
        self.document = document


class Place:
    """Stands in for what is served: takes a document once `is_loaded` is set, and fails with `failure` if there is one.

    Reports to itself whether a document is kept out, and takes the keys.
    """

    def __init__(self) -> None:
        self.is_loaded = asyncio.Event()
        self.is_loaded.set()
        self.failure: Exception | None = None
        self.versions: list[int] = []
        self.keys: list[KeyRecord] = []
        self.is_refused = False

    async def start(self, document: ControlDocument) -> None:
        self.versions.append(document.version)

    async def apply(self, document: ControlDocument) -> None:
        await self.is_loaded.wait()
        if self.failure is not None:
            raise self.failure
        self.versions.append(document.version)

    def control_refused(self, is_refused: bool) -> None:
        self.is_refused = is_refused

    def take(self, records: Iterable[KeyRecord]) -> None:
        self.keys = list(records)


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[tuple[Follower, Place]]:
    """A follower of the store that has started."""
    place: Any = Place()
    follower = Follower(store, place, place, 0.01, place.take)
    await follower.start()
    try:
        yield follower, place
    finally:
        await follower.aclose()


async def test_keys_are_taken_while_a_bundle_loads_and_the_newest_document_follows() -> None:
    store = Store(ControlDocument(version=1, keys=(ALICE,)))
    async with following(store) as (_, place):
        place.is_loaded.clear()
        store.document = ControlDocument(version=2, keys=(ALICE,), **ROUTED)
        await asyncio.sleep(0.03)
        store.document = ControlDocument(version=3, **ROUTED)

        async def are_taken() -> bool:
            return place.keys == []

        await eventually(are_taken)
        assert place.versions == [1]
        place.is_loaded.set()

        async def is_served() -> bool:
            return place.versions[-1] == 3

        await eventually(is_served)


@pytest.mark.parametrize(("failure", "told"), [(ConfigError("no"), "no"), (PermissionError("x"), "PermissionError")])
async def test_keys_of_a_document_that_will_not_do_are_taken(failure: Exception, told: str) -> None:
    store = Store(ControlDocument(version=1, keys=(ALICE,)))
    async with following(store) as (follower, place):
        place.failure = failure
        store.document = ControlDocument(version=2, **ROUTED)
        await follower.look()
        assert (place.keys, place.versions, place.is_refused) == ([], [1], True)
        assert follower.why_refused == told


@pytest.mark.parametrize("found", [ControlDocument(), ControlDocument(version=4, keys=(ALICE,))])
async def test_what_is_older_than_what_is_served_is_kept_out(found: ControlDocument) -> None:
    bob = new_key("bob").record
    served = ControlDocument(version=5, keys=(bob,))
    store = Store(served)
    async with following(store) as (follower, place):
        store.document = found
        await follower.look()
        assert (place.keys, place.versions, place.is_refused) == ([bob], [5], True)
        assert follower.why_refused is not None
        assert "older than version 5" in follower.why_refused
        store.document = served
        await follower.look()
        assert (place.is_refused, follower.why_refused) == (False, None)


async def test_another_document_of_the_same_version_is_taken() -> None:
    store = Store(ControlDocument(version=5, keys=(ALICE,)))
    async with following(store) as (follower, place):
        store.document = ControlDocument(version=5)
        await follower.look()
        assert (place.keys, place.versions) == ([], [5, 5])
