"""The whole path, once per session: one real vLLM engine on the CPU, one real gateway in front of it."""

import os
from collections.abc import Iterator

import pytest

from deploy.demo.convert import convert
from deploy.demo.engine import PYTHON, Engine
from deploy.demo.gateway_process import GatewayProcess
from deploy.demo.run import free_port


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The demo's engine with the base model and every specialist, ready."""
    if not PYTHON.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("vLLM is not installed: run `make setup`")
        pytest.skip("vLLM is not installed: run `make setup`")
    convert()
    engine = Engine(free_port())
    try:
        engine.start()
        engine.wait_until_ready()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def gateway_url(engine: Engine) -> Iterator[str]:
    """The demo's gateway, with its trained bundle, in front of `engine`."""
    gateway = GatewayProcess(free_port(), engine.url)
    try:
        gateway.start()
        gateway.wait_until_ready(print)
        yield gateway.url
    finally:
        gateway.stop()
