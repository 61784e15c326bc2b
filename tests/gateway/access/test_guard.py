"""The guard: off, keys, limits, and what happens when Redis is away. F40 and F42 at the door."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.base import ANONYMOUS
from gateway.access.guard import Guard
from gateway.access.keyring import Keyring
from gateway.access.keys import NewKey, new_key
from gateway.errors import AuthenticationError, PermissionDeniedError, RateLimitedError
from gateway.observability.logs import configure
from gateway.settings import Settings
from gateway.state.base import State
from gateway.state.build import build_state
from gateway.state.memory import MemoryState
from tests.support.redis_server import RedisServer
from tests.support.settings import make_settings


@asynccontextmanager
async def guarding(*keys: NewKey, **sections: Any) -> AsyncIterator[Guard]:
    """The guard of a gateway whose keys these are."""
    settings = make_settings(**sections)
    state = build_state(settings)
    try:
        yield guard_of(settings, state, *keys)
    finally:
        await state.aclose()


def guard_of(settings: Settings, state: State, *keys: NewKey) -> Guard:
    keyring = Keyring()
    keyring.replace(key.record for key in keys)
    return Guard(keyring if settings.access.require_keys else None, state, settings)


def bearer(key: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {key.text}"}


ACCESS: Any = {"require_keys": True}


async def test_without_keys_everybody_is_anonymous_and_headers_are_ignored() -> None:
    async with guarding() as guard:
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"x-api-key": "nonsense"}):
            assert await guard.admit(headers) == (ANONYMOUS, [])


async def test_a_key_is_its_principal() -> None:
    key = new_key("alice", ("alpha",), None)
    async with guarding(key, access=ACCESS) as guard:
        principal, headers = await guard.admit(bearer(key))
    assert (principal.key_id, principal.allowed_models) == (key.record.id, frozenset({"alpha"}))
    assert (principal.requests_per_minute, headers) == (None, [])


async def test_where_a_key_may_stand() -> None:
    key = new_key("alice")
    good: list[dict[str, str]] = [
        {"authorization": f"bearer {key.text}"},
        {"authorization": f"BEARER  {key.text} "},
        {"x-api-key": key.text},
        {"authorization": "Basic YTpi", "x-api-key": key.text},
    ]
    bad: list[dict[str, str]] = [
        {},
        {"authorization": key.text},
        {"authorization": f"Basic {key.text}"},
        {"authorization": f"Bearer {key.text}, Bearer {key.text}"},
        {"authorization": f"Bearer{key.text}"},
        {"authorization": "Bearer wrong", "x-api-key": key.text},
        {"cookie": key.text},
    ]
    async with guarding(key, access=ACCESS) as guard:
        for headers in good:
            assert (await guard.admit(headers))[0].key_id == key.record.id
        for headers in bad:
            with pytest.raises(AuthenticationError):
                await guard.admit(headers)


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-api-key"]),
        st.builds(
            lambda scheme, text: scheme + text,
            st.sampled_from(["", "Bearer ", "bearer ", "Basic ", "Bearer\t", "rdc_"]),
            st.text(max_size=100) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")),
        ),
    )
)
def test_no_header_is_anything_but_refused(headers: dict[str, str]) -> None:
    async def attempt() -> None:
        guard = guard_of(make_settings(access=ACCESS), MemoryState(), new_key("alice"))
        with pytest.raises(AuthenticationError):
            await guard.admit(headers)

    asyncio.run(attempt())


async def test_a_limit_lets_exactly_so_many_pass_and_says_so() -> None:
    key = new_key("alice", None, 3)
    async with guarding(key, access=ACCESS) as guard:
        shown = [dict((await guard.admit(bearer(key)))[1]) for _ in range(3)]
        with pytest.raises(RateLimitedError) as caught:
            await guard.admit(bearer(key))
    assert [headers["x-ratelimit-remaining-requests"] for headers in shown] == ["2", "1", "0"]
    assert {headers["x-ratelimit-limit-requests"] for headers in shown} == {"3"}
    refusal = dict(caught.value.headers())
    assert refusal["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(refusal["retry-after"]) <= 60
    assert refusal["x-ratelimit-reset-requests"] == refusal["retry-after"] + "s"
    assert caught.value.status == 429


async def test_keys_are_counted_apart_and_the_configured_limit_is_the_default() -> None:
    alice, bob = new_key("alice"), new_key("bob", None, 5)
    async with guarding(alice, bob, access=ACCESS | {"requests_per_minute": 1}) as guard:
        await guard.admit(bearer(alice))
        with pytest.raises(RateLimitedError):
            await guard.admit(bearer(alice))
        principal, _ = await guard.admit(bearer(bob))
    assert principal.requests_per_minute == 5


async def test_a_refused_key_does_not_use_up_a_limit() -> None:
    key = new_key("alice", None, 1)
    async with guarding(key, access=ACCESS) as guard:
        for _ in range(5):
            with pytest.raises(AuthenticationError):
                await guard.admit({"authorization": f"Bearer {key.text[:-1]}"})
        assert (await guard.admit(bearer(key)))[0].key_id == key.record.id


async def test_a_revoked_key_is_refused() -> None:
    key = new_key("alice")
    revoked = replace(key, record=key.record.model_copy(update={"revoked": key.record.created}))
    async with guarding(revoked, access=ACCESS) as guard:
        with pytest.raises(AuthenticationError):
            await guard.admit(bearer(key))


async def test_a_key_is_for_requests_or_for_administration() -> None:
    asks, administrates = new_key("alice"), new_key("root", scope="admin")
    async with guarding(asks, administrates, access=ACCESS) as guard:
        assert guard.admit_admin(bearer(administrates)) == administrates.record.id
        with pytest.raises(PermissionDeniedError, match="administration only"):
            await guard.admit(bearer(administrates))
        with pytest.raises(PermissionDeniedError, match="not for administration"):
            guard.admit_admin(bearer(asks))
        with pytest.raises(AuthenticationError):
            guard.admit_admin(bearer(new_key("mallory", scope="admin")))
    async with guarding() as guard:
        with pytest.raises(PermissionDeniedError, match="needs keys"):
            guard.admit_admin({})


async def test_a_key_brings_its_dial() -> None:
    dialled, other = new_key("alice"), new_key("bob")
    dials = {dialled.record.id: {"quality": 0.5, "max_cost": 2.0}}
    access = {"require_keys": True, "dials": dials}
    replicas = [{"base_url": "http://127.0.0.1:1/v1"}]
    price = {"input_per_million_tokens": 1, "output_per_million_tokens": 1}
    models: Any = [{"name": "alpha", "replicas": replicas, "price": price}]
    async with guarding(dialled, other, access=access, models=models) as guard:
        (first, _), (second, _) = await guard.admit(bearer(dialled)), await guard.admit(bearer(other))
    assert (first.quality, first.max_cost) == (0.5, 2.0)
    assert (second.quality, second.max_cost) == (None, None)


async def test_the_key_is_in_no_log_line() -> None:
    key = new_key("alice", None, 1)
    secret = key.text.split("_", 2)[2]
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    try:
        configure("debug", stream)
        async with guarding(key, access=ACCESS) as guard:
            for headers in (bearer(key), bearer(key), {"x-api-key": key.text + "x"}):
                try:
                    await guard.admit(headers)
                except (AuthenticationError, RateLimitedError) as error:
                    logging.getLogger("gateway.http").exception("request %s", headers, exc_info=error)
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    assert key.record.id in stream.getvalue()
    assert secret not in stream.getvalue()


@pytest.mark.redis
async def test_with_redis_away_keys_stay_known_and_each_worker_counts_its_share(own_redis_server: RedisServer) -> None:
    redis = {"redis_url": own_redis_server.url, "timeout_s": 5.0}
    key = new_key("alice", None, 10)
    async with guarding(key, access=ACCESS, state=redis, server={"workers": 3}) as guard:
        await guard.admit(bearer(key))
        own_redis_server.kill()
        shown = [dict((await guard.admit(bearer(key)))[1])["x-ratelimit-limit-requests"] for _ in range(3)]
        with pytest.raises(RateLimitedError):
            await guard.admit(bearer(key))
        with pytest.raises(AuthenticationError):
            await guard.admit(bearer(new_key("mallory")))
    assert shown == ["3", "3", "3"]
