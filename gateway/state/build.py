"""Chooses the state store that the settings ask for. The Redis client is imported only where there is a Redis."""

from collections.abc import Callable

from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.state.base import State
from gateway.state.memory import MemoryState


def build_state(settings: Settings, *, on_change: Callable[[bool], None] | None = None) -> State:
    """Redis when `state.redis_url` is set, else this process's memory. Opens no connection yet.

    `on_change` is called with False when Redis stops answering and with True when it is back. Raises ConfigError if the
    URL is not one that Redis takes; the message does not quote it, because it may hold a password.
    """
    url = settings.state.redis_url
    if url is None:
        return MemoryState()
    from redis.exceptions import RedisError

    from gateway.state.redis import RedisState

    try:
        return RedisState(url.get_secret_value(), settings.state.timeout_s, on_change=on_change)
    except (ValueError, RedisError):
        raise ConfigError(
            "state.redis_url: not a Redis URL; write redis://host:6379/0, rediss://... or unix://..."
        ) from None
