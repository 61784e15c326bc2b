from pathlib import Path

import pytest

from benchmarks.load.programs import BuildError, Programs, build_programs


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Both C programs; without gcc the tests that need them are skipped."""
    try:
        return build_programs(tmp_path_factory.mktemp("load"))
    except BuildError as error:
        if "gcc is not here" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    """A file with one request body in which every ask is new."""
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"model": "mock", "ask": "number %%%%%%%%%%"}\n')
    return path
