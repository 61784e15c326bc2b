from pathlib import Path

import pytest


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    """A file with one request body in which every ask is new."""
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"model": "mock", "ask": "number %%%%%%%%%%"}\n')
    return path
