"""Fixtures that several packages' tests use: real processes, one per session, reset before each test."""

from collections.abc import Iterator

import pytest

from tests.support.mock_vllm import MockVllm, running_mock_vllm


@pytest.fixture(scope="session")
def mock_vllm_process() -> Iterator[MockVllm]:
    """One mock upstream for the whole session."""
    with running_mock_vllm() as mock:
        yield mock


@pytest.fixture
def mock_vllm(mock_vllm_process: MockVllm) -> MockVllm:
    """A mock upstream that behaves and has seen nothing."""
    mock_vllm_process.reset()
    return mock_vllm_process
