"""Fixtures that the gateway's tests share."""

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, settings

from router_core.bundle import RouterBundle
from tests.support.redis_server import own_redis_server, redis_server, session_redis_server

__all__ = ["own_redis_server", "redis_server", "session_redis_server"]

# A busy machine is not a failing test: no time per example, and slow generation is no fault.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> RouterBundle:
    """A bundle that carries a tiny exported encoder; skips where none can be made, except under CI."""
    for name in ("sentence_transformers", "openvino"):
        if importlib.util.find_spec(name) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    from tests.support.tiny_encoder import bundle_with, export_tiny_encoder

    folder = tmp_path_factory.mktemp("exported")
    spec = export_tiny_encoder(folder / "encoder", folder / "torch")
    return bundle_with(folder / "bundle", spec, encoder_folder=folder / "encoder")
