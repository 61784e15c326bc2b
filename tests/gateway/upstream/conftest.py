"""Clients to test, on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gateway.upstream.base import Upstream
from gateway.upstream.client import HttpUpstream
from tests.support.upstreams import CLIENTS, SETTINGS


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test of this folder runs on both."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(params=CLIENTS)
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Upstream]:
    client = CLIENTS[request.param](SETTINGS)
    yield client
    await client.aclose()


@pytest.fixture
async def own() -> AsyncIterator[HttpUpstream]:
    client = HttpUpstream(SETTINGS)
    yield client
    await client.aclose()
