import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import profile
from benchmarks.profile import PARTS, Row, main, measure, render


async def test_every_stage_runs_and_costs_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "ROUND_S", 0.0)
    rows = await measure(tmp_path, rounds=1)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {*PARTS, *(part for parts in PARTS.values() for part in parts)} <= set(names)
    assert all(row.microseconds > 0 for row in rows)


async def test_only_what_was_asked_for_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "ROUND_S", 0.0)
    assert [row.name for row in await measure(tmp_path, ["headers", "peek"], rounds=1)][:2] == ["headers", "peek"]


def test_the_sum_of_its_stages_stands_beside_a_whole() -> None:
    whole, parts = next(iter(PARTS.items()))
    table = render([*(Row(part, 1.5) for part in parts), Row(whole, 100)]).splitlines()
    assert table[-1].endswith(f"stages {1.5 * len(parts):.1f}")


def test_a_whole_without_all_its_stages_has_no_sum() -> None:
    whole, parts = next(iter(PARTS.items()))
    assert "stages" not in render([Row(parts[0], 1.5), Row(whole, 100)])


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Puts back what the root logger was before."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.usefixtures("root_logger")
def test_a_stage_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "teleport"]) == 2
    assert "teleport" in capsys.readouterr().err
