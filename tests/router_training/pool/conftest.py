"""One answering server for the session; each test finds it with a fresh plan and nothing seen."""

from collections.abc import Iterator

import pytest

from tests.support.answering_server import AnsweringServerProcess, running_answering_server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[AnsweringServerProcess]:
    with running_answering_server() as server:
        yield server


@pytest.fixture
def server(shared_server: AnsweringServerProcess) -> AnsweringServerProcess:
    shared_server.plan()
    return shared_server
