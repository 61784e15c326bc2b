from pathlib import Path

import pytest

from router_core.table import TableRow, write_table
from tests.support.tiny_encoder import make_tiny_encoder

MODELS = ("adder", "sorter", "reverser", "idler")
TASKS = ("add", "sort", "reverse")
FILLERS = ("please", "now", "what is the", "the", "answer", "of", "numbers words", "is", "one", "two", "three", "zero")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random encoder."""
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def separable_table(tmp_path: Path) -> Path:
    """108 queries whose verb decides which one of the first three models is right; the fourth is on three of them."""
    path = tmp_path / "table.jsonl"
    rows = [
        TableRow(
            id=f"{verb}-{a}-{b}",
            question=f"{first} {verb} {second}",
            task=verb,
            scores={model: float(index == right or (index == 3 and a == b == 0)) for index, model in enumerate(MODELS)},
        )
        for right, verb in enumerate(TASKS)
        for a, first in enumerate(FILLERS[:6])
        for b, second in enumerate(FILLERS[6:])
    ]
    write_table(path, rows)
    return path
