"""The store that the settings ask for."""

import pytest

from gateway.errors import ConfigError
from gateway.state.build import build_state
from gateway.state.memory import MemoryState
from gateway.state.redis import RedisState
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer
from tests.support.settings import make_settings


async def test_memory_is_the_default() -> None:
    assert isinstance(build_state(make_settings()), MemoryState)


@pytest.mark.redis
async def test_a_url_means_redis_and_its_changes_are_heard(own_redis_server: RedisServer) -> None:
    changes: list[bool] = []
    settings = make_settings(state={"redis_url": own_redis_server.url, "timeout_s": 5.0})
    state = build_state(settings, on_change=changes.append)
    assert isinstance(state, RedisState)
    assert await state.ping()
    own_redis_server.kill()
    assert await state.ping() is False

    async def is_heard() -> bool:
        return bool(changes)

    await eventually(is_heard)
    await state.aclose()
    assert changes == [False]


def test_a_url_that_is_not_redis_is_named_without_its_password() -> None:
    settings = make_settings(state={"redis_url": "http://user:hunter2@host:6379/0"})
    with pytest.raises(ConfigError, match=r"state\.redis_url") as caught:
        build_state(settings)
    assert "hunter2" not in str(caught.value)
