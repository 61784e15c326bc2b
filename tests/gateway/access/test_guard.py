"""The guard: off, keys, limits, and what happens when Redis is away. F40 and F42 at the door."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.base import ANONYMOUS
from gateway.access.guard import Guard, build_guard
from gateway.access.keys import NewKey, new_key
from gateway.access.store import FileKeyStore, KeyStore, StateKeyStore
from gateway.errors import AuthenticationError, ConfigError, RateLimitedError, StateUnavailableError
from gateway.observability.logs import configure
from gateway.state.build import build_state
from gateway.state.memory import MemoryState
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer
from tests.support.settings import make_settings

FAST_S = 0.02


@asynccontextmanager
async def guarding(**sections: Any) -> AsyncIterator[Guard]:
    settings = make_settings(**sections)
    state = build_state(settings)
    guard = build_guard(settings, state)
    try:
        await guard.start()
        yield guard
    finally:
        await guard.aclose()
        await state.aclose()


async def kept(store: KeyStore, *arguments: Any) -> NewKey:
    key = new_key(*arguments)
    await store.save(key.record)
    return key


def bearer(key: NewKey) -> dict[str, str]:
    return {"authorization": f"Bearer {key.text}"}


async def is_admitted(guard: Guard, key: NewKey) -> bool:
    try:
        await guard.admit(bearer(key))
    except (AuthenticationError, StateUnavailableError):
        return False
    return True


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def access(keys_file: Path) -> dict[str, Any]:
    return {"require_keys": True, "keys_file": str(keys_file), "snapshot_ttl_s": FAST_S}


async def test_without_keys_everybody_is_anonymous_and_headers_are_ignored() -> None:
    async with guarding() as guard:
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"x-api-key": "nonsense"}):
            assert await guard.admit(headers) == (ANONYMOUS, [])


async def test_a_key_is_its_principal(keys_file: Path, access: dict[str, Any]) -> None:
    key = await kept(FileKeyStore(keys_file), "alice", ("alpha",), None)
    async with guarding(access=access) as guard:
        principal, headers = await guard.admit(bearer(key))
    assert (principal.key_id, principal.allowed_models) == (key.record.id, frozenset({"alpha"}))
    assert (principal.requests_per_minute, headers) == (None, [])


async def test_where_a_key_may_stand(keys_file: Path, access: dict[str, Any]) -> None:
    key = await kept(FileKeyStore(keys_file), "alice")
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
    async with guarding(access=access) as guard:
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
        state = MemoryState()
        await kept(StateKeyStore(state), "alice")
        settings = make_settings(access={"require_keys": True}, state={"redis_url": "redis://127.0.0.1:1/0"})
        guard = build_guard(settings, state)
        await guard.start()
        try:
            with pytest.raises(AuthenticationError):
                await guard.admit(headers)
        finally:
            await guard.aclose()

    asyncio.run(attempt())


async def test_a_limit_lets_exactly_so_many_pass_and_says_so(keys_file: Path, access: dict[str, Any]) -> None:
    key = await kept(FileKeyStore(keys_file), "alice", None, 3)
    async with guarding(access=access) as guard:
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


async def test_keys_are_counted_apart_and_the_configured_limit_is_the_default(
    keys_file: Path, access: dict[str, Any]
) -> None:
    store = FileKeyStore(keys_file)
    alice, bob = await kept(store, "alice"), await kept(store, "bob", None, 5)
    async with guarding(access=access | {"requests_per_minute": 1}) as guard:
        await guard.admit(bearer(alice))
        with pytest.raises(RateLimitedError):
            await guard.admit(bearer(alice))
        principal, _ = await guard.admit(bearer(bob))
    assert principal.requests_per_minute == 5


async def test_a_refused_key_does_not_use_up_a_limit(keys_file: Path, access: dict[str, Any]) -> None:
    key = await kept(FileKeyStore(keys_file), "alice", None, 1)
    async with guarding(access=access) as guard:
        for _ in range(5):
            with pytest.raises(AuthenticationError):
                await guard.admit({"authorization": f"Bearer {key.text[:-1]}"})
        assert (await guard.admit(bearer(key)))[0].key_id == key.record.id


async def test_a_new_key_is_taken_and_a_revoked_one_refused_while_running(
    keys_file: Path, access: dict[str, Any]
) -> None:
    store = FileKeyStore(keys_file)
    async with guarding(access=access) as guard:
        key = await kept(store, "alice")
        await eventually(lambda: is_admitted(guard, key))
        await store.save(key.record.model_copy(update={"revoked": key.record.created}))

        async def is_refused() -> bool:
            return not await is_admitted(guard, key)

        await eventually(is_refused)


async def test_a_keys_file_that_cannot_be_read_stops_the_start_but_not_a_running_gateway(
    keys_file: Path, access: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    key = await kept(FileKeyStore(keys_file), "alice")
    with caplog.at_level(logging.WARNING, logger="gateway.access"):
        async with guarding(access=access) as guard:
            await asyncio.to_thread(keys_file.write_text, "{")

            async def is_reported() -> bool:
                return any(record.getMessage() == "keys_stale" for record in caplog.records)

            await eventually(is_reported)
            await asyncio.sleep(FAST_S * 5)
            assert await is_admitted(guard, key)
    assert [record.getMessage() for record in caplog.records] == ["keys_stale"]
    with pytest.raises(ConfigError, match=r"keys\.json"):
        async with guarding(access=access):
            pass


async def test_a_key_brings_its_dial(keys_file: Path) -> None:
    dialled, other = await kept(FileKeyStore(keys_file), "alice"), await kept(FileKeyStore(keys_file), "bob")
    dials = {dialled.record.id: {"quality": 0.5, "max_cost": 2.0}}
    access = {"require_keys": True, "keys_file": str(keys_file), "dials": dials}
    replicas = [{"base_url": "http://127.0.0.1:1/v1"}]
    price = {"input_per_million_tokens": 1, "output_per_million_tokens": 1}
    models: Any = [{"name": "alpha", "replicas": replicas, "price": price}]
    async with guarding(access=access, models=models) as guard:
        (first, _), (second, _) = await guard.admit(bearer(dialled)), await guard.admit(bearer(other))
    assert (first.quality, first.max_cost) == (0.5, 2.0)
    assert (second.quality, second.max_cost) == (None, None)


async def test_no_keys_at_all_is_said_and_lets_nobody_in(
    access: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="gateway.access"):
        async with guarding(access=access) as guard:
            assert not await is_admitted(guard, new_key("alice"))
    assert [record.getMessage() for record in caplog.records] == ["no_keys"]


async def test_keys_required_without_a_place_is_a_config_error() -> None:
    settings = make_settings(access={"require_keys": True}, state={"redis_url": "redis://127.0.0.1:1/0"})
    nowhere = settings.model_copy(update={"state": settings.state.model_copy(update={"redis_url": None})})
    with pytest.raises(ConfigError, match=r"access\.keys_file"):
        build_guard(nowhere, MemoryState())


async def test_the_key_is_in_no_log_line(keys_file: Path, access: dict[str, Any]) -> None:
    key = await kept(FileKeyStore(keys_file), "alice", None, 1)
    secret = key.text.split("_", 2)[2]
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    try:
        configure("debug", stream)
        async with guarding(access=access) as guard:
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
    access = {"require_keys": True, "snapshot_ttl_s": FAST_S}
    settings = make_settings(access=access, state=redis)
    state = build_state(settings)
    key = await kept(StateKeyStore(state), "alice", None, 10)
    await state.aclose()
    async with guarding(access=access, state=redis, server={"workers": 3}) as guard:
        await guard.admit(bearer(key))
        own_redis_server.kill()
        shown = [dict((await guard.admit(bearer(key)))[1])["x-ratelimit-limit-requests"] for _ in range(3)]
        with pytest.raises(RateLimitedError):
            await guard.admit(bearer(key))
        with pytest.raises(AuthenticationError):
            await guard.admit(bearer(new_key("mallory")))
    assert shown == ["3", "3", "3"]


@pytest.mark.redis
async def test_redis_away_at_start_is_never_open_and_heals(own_redis_server: RedisServer) -> None:
    redis = {"redis_url": own_redis_server.url, "timeout_s": 5.0}
    access = {"require_keys": True, "snapshot_ttl_s": FAST_S}
    own_redis_server.kill()
    async with guarding(access=access, state=redis) as guard:
        for headers in ({}, bearer(new_key("mallory"))):
            with pytest.raises(StateUnavailableError):
                await guard.admit(headers)
        own_redis_server.start()
        state = build_state(make_settings(state=redis))
        key = await kept(StateKeyStore(state), "alice")
        await state.aclose()
        await eventually(lambda: is_admitted(guard, key))
