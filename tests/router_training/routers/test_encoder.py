"""Encoders as the trainer loads them: by name, and out of each kind of bundle."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from router_core.bundle import SentenceEncoderSpec
from router_core.errors import BundleError
from router_training.errors import JobConfigError
from router_training.routers.encoder import SentenceEncoder, load_bundle_encoder, load_encoder
from tests.support.small_bundle import small_bundle
from tests.support.tiny_encoder import bundle_with, export_tiny_encoder, make_tiny_encoder

TEXTS = ["add one", "", "sort words " * 10, "a\ud800b", "reverse"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceEncoder:
    return load_encoder(str(folder), max_tokens=12, truncation_side="left")


def test_vectors_do_not_depend_on_batches_and_losses_are_told(encoder: SentenceEncoder) -> None:
    watched: list[int] = []

    def progress(steps: Iterable[int]) -> Iterable[int]:
        for step in steps:
            watched.append(step)
            yield step

    vectors, lost = encoder.encode(TEXTS, batch_size=2, progress=progress)
    assert watched == [0, 2, 4]
    assert vectors.shape == (5, 16)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encoder.embed([text])[0], vector, atol=1e-5)
    # 20 words, of which 10 are read beside two special tokens.
    assert lost.tolist() == [0.0, 0.0, 0.5, 0.0, 0.0]


def test_a_megabyte_loses_what_the_cut_before_the_tokenizer_takes(encoder: SentenceEncoder) -> None:
    _, lost = encoder.encode(["add " * 250_000])
    assert lost[0] == pytest.approx(1 - 10 / 250_000, abs=1e-5)


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    vectors, lost = encoder.encode([])
    assert (vectors.shape, lost.shape) == ((0, 16), (0,))


def test_a_bundle_that_names_or_carries_an_encoder_gives_that(folder: Path, tmp_path: Path) -> None:
    named = load_encoder(str(folder), max_tokens=12, truncation_side="left")
    expected, expected_lost = named.encode(TEXTS)
    carried = named.spec.model_copy(update={"name": "bundle:encoder"})
    for bundle in (
        bundle_with(tmp_path / "named", named.spec),
        bundle_with(tmp_path / "carried", carried, encoder_folder=folder),
    ):
        vectors, lost = load_bundle_encoder(bundle).encode(TEXTS)
        assert np.array_equal(vectors, expected)
        assert np.array_equal(lost, expected_lost)


def test_a_features_bundle_gives_its_own_encoder(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", models=("a", "b"))
    assert bundle.features is not None
    texts = [f"add {number}" for number in range(300)] + ["x" * 100_000]
    vectors, lost = load_bundle_encoder(bundle).encode(texts)
    expected, expected_lost = bundle.features.encode(texts)
    assert np.array_equal(vectors, expected)
    assert np.array_equal(lost, expected_lost)
    assert lost[-1] > 0


def test_other_weights_than_the_bundles_are_refused(folder: Path, tmp_path: Path) -> None:
    spec = SentenceEncoderSpec(name=str(folder), digest="0" * 64, dimensions=16, max_tokens=12)
    with pytest.raises(BundleError, match="trained with 000000000000"):
        load_bundle_encoder(bundle_with(tmp_path / "bundle", spec))


def test_an_exported_encoder_has_no_other_device_than_the_cpu(tmp_path: Path) -> None:
    spec = export_tiny_encoder(tmp_path / "encoder", tmp_path / "torch")
    bundle = bundle_with(tmp_path / "bundle", spec, encoder_folder=tmp_path / "encoder")
    with pytest.raises(JobConfigError, match=r"device: 'cuda', but .* exported for the CPU"):
        load_bundle_encoder(bundle, device="cuda")


def test_without_openvino_an_exported_bundle_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = export_tiny_encoder(tmp_path / "encoder", tmp_path / "torch")
    bundle = bundle_with(tmp_path / "bundle", spec, encoder_folder=tmp_path / "encoder")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(JobConfigError, match=r"encoder: .*openvino.* pip install"):
        load_bundle_encoder(bundle)
