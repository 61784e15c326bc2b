"""Exporting a real, tiny sentence encoder, and what happens when the export is not what it should be."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from router_core.bundle import load_bundle
from router_core.exported_encoder import ExportedEncoder
from router_core.tensors import FloatArray
from router_training.errors import TrainingError
from router_training.routers import encoder_export
from router_training.routers.encoder import SentenceEncoder, load_bundle_encoder, load_encoder
from router_training.routers.encoder_export import export_encoder
from tests.support.tiny_encoder import bundle_with, make_tiny_encoder

QUESTIONS = ["add one", "sort the words now please", "", "reverse numbers " * 20, "json object of the answer", "two"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = make_tiny_encoder(tmp_path_factory.mktemp("encoder"))
    return load_encoder(str(folder), max_tokens=12, truncation_side="left")


def first_axis(vectors: FloatArray) -> Any:
    return vectors[:, :4].argmax(axis=1)


def test_an_export_gives_the_vectors_and_the_losses_of_torch(encoder: SentenceEncoder, tmp_path: Path) -> None:
    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)
    spec = report.spec.model_copy(update={"precision": "float32"})
    vectors, lost = ExportedEncoder(tmp_path / "encoder", spec).encode(QUESTIONS)
    expected, expected_lost = encoder.encode(QUESTIONS)
    assert np.abs(vectors - expected).max() < 1e-5
    assert lost.tolist() == expected_lost.tolist()
    # 40 words, of which 10 are read beside two special tokens.
    assert lost[3] == pytest.approx(0.75)


def test_a_report_says_how_it_was_verified(encoder: SentenceEncoder, tmp_path: Path) -> None:
    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)
    record = report.record()
    assert record["questions"] == len(QUESTIONS)
    assert record["runtime"] == "openvino"
    assert record["precision"] == report.spec.precision
    assert record["float32"] == {"worst_cosine": 1.0, "mean_cosine": 1.0, "agreement": 1.0}
    assert report.spec.name == "bundle:encoder"
    assert report.spec.max_tokens == 12
    assert str(tmp_path) not in str(record)


def test_the_same_encoder_gives_the_same_files(encoder: SentenceEncoder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_encoder(encoder, tmp_path / name, QUESTIONS, first_axis)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["encoder.json", "graph.weights", "graph.xml", "tokenizer.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_other_weights_are_exported_as_they_are_now(tmp_path: Path) -> None:
    tuned = load_encoder(str(make_tiny_encoder(tmp_path / "torch")), max_tokens=12, truncation_side="left")
    before = tuned.embed(["add one"])
    tuned.model.train()
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight += 0.05 * torch.ones_like(weight).cumsum(0).sin()
    report = export_encoder(tuned, tmp_path / "encoder", QUESTIONS, first_axis)
    after = ExportedEncoder(tmp_path / "encoder", report.spec).encode(["add one"])[0]
    assert np.abs(after - before).max() > 0.01
    assert np.abs(after - tuned.embed(["add one"])).max() < 0.05


def test_vectors_of_something_else_are_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    wrong = encoder.embed(QUESTIONS)[::-1]
    with pytest.raises(TrainingError, match=r"gives other vectors than torch \(worst cosine"):
        export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis, vectors=wrong)
    with pytest.raises(TrainingError, match=r"worst cosine nan"):
        export_encoder(encoder, tmp_path / "again", QUESTIONS, first_axis, vectors=np.full_like(wrong, np.nan))


@pytest.mark.parametrize(("alike", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_kept_only_if_it_routes_alike(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: bool, precision: str
) -> None:
    # On a processor without it the very same float32 would run; what decides is then still the routing.
    monkeypatch.setattr(encoder_export, "_has_bfloat16", lambda: True)
    calls: list[FloatArray] = []

    def choose(vectors: FloatArray) -> Any:
        """Calls: float32, torch, bfloat16, torch. The third is routed otherwise unless `alike`."""
        calls.append(vectors)
        return np.zeros(len(vectors), dtype=np.intp) + (len(calls) == 3 and not alike)

    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, choose)
    assert report.spec.precision == precision
    assert report.fidelity["bfloat16"].agreement == (1.0 if alike else 0.0)
    assert report.note.startswith(f"{precision}: ")


def test_a_processor_without_bfloat16_exports_float32_and_says_so(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_export, "_has_bfloat16", lambda: False)
    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)
    assert report.spec.precision == "float32"
    assert list(report.fidelity) == ["float32"]
    assert "no bfloat16" in report.note


def test_a_default_prompt_is_refused(tmp_path: Path) -> None:
    prompted = load_encoder(str(make_tiny_encoder(tmp_path / "torch")), max_tokens=12, truncation_side="left")
    prompted.model.prompts = {"query": "query: "}
    prompted.model.default_prompt_name = "query"
    with pytest.raises(TrainingError, match="puts the prompt 'query: ' before every text"):
        export_encoder(prompted, tmp_path / "encoder", QUESTIONS, first_axis)


def test_an_encoder_that_cannot_be_traced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untraceable = load_encoder(str(make_tiny_encoder(tmp_path / "torch")), max_tokens=12, truncation_side="left")

    def fail(features: Any) -> Any:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(untraceable.model[1], "forward", fail)
    with pytest.raises(TrainingError, match=r"export: the encoder cannot be converted \(.*no such operation.*\)"):
        export_encoder(untraceable, tmp_path / "encoder", QUESTIONS, first_axis)


def test_without_openvino_the_error_says_what_to_install(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(TrainingError, match=r"openvino.* pip install 'routerdc-gateway\[train\]'"):
        export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)


def test_nothing_to_verify_on_is_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no questions"):
        export_encoder(encoder, tmp_path / "encoder", [], first_axis)


def test_cls_pooling_and_normalisation_are_exported(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    word = Transformer(str(make_tiny_encoder(tmp_path / "torch")))
    pooled = SentenceTransformer(modules=[word, Pooling(16, pooling_mode="cls"), Normalize()])
    pooled.save(str(tmp_path / "saved"), create_model_card=False)
    encoder = load_encoder(str(tmp_path / "saved"), max_tokens=12, truncation_side="right")
    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)
    facts = (tmp_path / "encoder" / "encoder.json").read_text(encoding="utf-8")
    assert '"pooling": "cls"' in facts
    assert '"normalised": true' in facts
    assert report.fidelity["float32"].worst_cosine > 0.99999
    vectors, _ = ExportedEncoder(tmp_path / "encoder", report.spec).encode(QUESTIONS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=0.01)


def test_a_bundle_carries_its_exported_encoder(encoder: SentenceEncoder, tmp_path: Path) -> None:
    report = export_encoder(encoder, tmp_path / "encoder", QUESTIONS, first_axis)
    spec = report.spec.model_copy(update={"precision": "float32"})
    bundle_with(tmp_path / "bundle", spec, encoder_folder=tmp_path / "encoder", training={"export": report.record()})
    shutil.rmtree(tmp_path / "encoder")
    vectors, lost = load_bundle_encoder(load_bundle(tmp_path / "bundle")).encode(QUESTIONS)
    expected, expected_lost = encoder.encode(QUESTIONS)
    assert np.abs(vectors - expected).max() < 1e-5
    assert lost.tolist() == expected_lost.tolist()
