from pathlib import Path

import pytest

from router_core.publish import publish_directory, publish_file


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    publish_file(target, b"one")
    publish_file(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_directory_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for text in ("one", "two"):
        with publish_directory(target) as draft:
            (draft / f"{text}.txt").write_text(text)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failing_writer_leaves_the_old_directory_alone(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with publish_directory(target) as draft:
        (draft / "old.txt").write_text("old")
    with pytest.raises(RuntimeError, match="broke"):
        write_half_and_break(target)
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_interrupt_between_the_two_renames_puts_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    with publish_directory(target) as draft:
        (draft / "old.txt").write_text("old")
    rename = Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        if to == target and not (path / "old.txt").exists():
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), publish_directory(target) as draft:
        (draft / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def write_half_and_break(target: Path) -> None:
    with publish_directory(target) as draft:
        (draft / "new.txt").write_text("half")
        assert not (target / "new.txt").exists()
        raise RuntimeError("broke")
