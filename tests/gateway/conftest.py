"""Fixtures that the gateway's tests share."""

from hypothesis import HealthCheck, settings

from tests.support.redis_server import own_redis_server, redis_server, session_redis_server

__all__ = ["own_redis_server", "redis_server", "session_redis_server"]

# A busy machine is not a failing test: no time per example, and slow generation is no fault.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
