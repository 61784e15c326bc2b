"""Fixtures that the gateway's tests share."""

from tests.support.redis_server import own_redis_server, redis_server, session_redis_server

__all__ = ["own_redis_server", "redis_server", "session_redis_server"]
