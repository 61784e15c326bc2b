import json
from pathlib import Path
from typing import Any

import pytest

from router_core.errors import ModelCardError
from router_core.model_card import (
    ModelCard,
    Parent,
    describe_folder,
    digest_of_files,
    read_model_card,
    verify_model_card,
    write_model_card,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "adapter.safetensors").write_bytes(b"weights")
    (model / "sub" / "config.json").write_text("{}")
    files = describe_folder(model)
    card = ModelCard(
        name="small-json",
        kind="lora",
        base="small",
        parents=(Parent(name="small", digest="a" * 64),),
        method="LoRA",
        seed=0,
        rank=4,
        files=files,
        digest=digest_of_files(files),
        licence="Apache-2.0",
        command="make it",
    )
    write_model_card(model / "card.json", card)
    return model


def alter(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def test_an_untouched_folder_verifies_and_reads_back(folder: Path) -> None:
    assert verify_model_card(folder) == read_model_card(folder / "card.json")
    assert set(verify_model_card(folder).files) == {"adapter.safetensors", "sub/config.json"}


def test_an_altered_file_is_named(folder: Path) -> None:
    (folder / "adapter.safetensors").write_bytes(b"weighty")
    with pytest.raises(ModelCardError, match=r"adapter\.safetensors: was altered.*make it"):
        verify_model_card(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "sub" / "config.json").unlink()
    with pytest.raises(ModelCardError, match=r"config\.json: is in the card but missing"):
        verify_model_card(folder)


def test_a_strange_file_is_named(folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"x")
    with pytest.raises(ModelCardError, match=r"weights\.pt: is not in the card"):
        verify_model_card(folder)


def test_a_symbolic_link_is_refused(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(ModelCardError, match="symbolic link"):
        verify_model_card(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"digest": "0" * 64}, "digest does not belong"),
        ({"rank": None}, "rank"),
        ({"colour": "red"}, "colour"),
        ({"kind": "soup"}, "kind"),
        ({"files": {}}, "files"),
        ({"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}, "relative path"),
    ],
)
def test_a_bad_card_is_named(folder: Path, changes: dict[str, Any], named: str) -> None:
    alter(folder, **changes)
    with pytest.raises(ModelCardError, match=named):
        verify_model_card(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"name"', "\x00"])
def test_a_file_that_is_no_card_is_one_clear_error(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(ModelCardError, match=r"card\.json"):
        read_model_card(folder)


def test_no_card(tmp_path: Path) -> None:
    with pytest.raises(ModelCardError, match="no such model card"):
        read_model_card(tmp_path)
