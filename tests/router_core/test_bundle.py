import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from router_core.bundle import (
    BUNDLED_ENCODER,
    DataEntry,
    EncoderSpec,
    Parent,
    RouterBundle,
    RouterWeights,
    load_bundle,
    save_bundle,
)
from router_core.errors import BundleError

WEIGHTS = RouterWeights(
    llm_embeddings=np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32),
    projection_weight=np.arange(8, dtype=np.float32).reshape(2, 4),
    projection_bias=np.array([0.5, -0.5], dtype=np.float32),
)


def make(path: Path, **changes: Any) -> RouterBundle:
    arguments: dict[str, Any] = {
        "models": ["a", "b", "c"],
        "encoder": EncoderSpec(name="tiny", digest="0" * 64, dimensions=4, max_tokens=16),
        "weights": WEIGHTS,
        "temperature": 1.0,
        "confidence_temperature": 0.2,
        "data": [DataEntry(name="t.jsonl", sha256="1" * 64, rows=3)],
        "parents": [Parent(name="tiny", digest="0" * 64)],
        "training": {"steps": 5},
        "evaluation": {"routed": 0.5},
    }
    return save_bundle(path, **arguments | changes)


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((bundle / "router.json").read_text())
    change(manifest)
    (bundle / "router.json").write_text(json.dumps(manifest))


def replace_weights(bundle: Path, content: bytes) -> None:
    """Put other bytes where the weights are, with a manifest that vouches for them."""
    (bundle / "router.safetensors").write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(bundle, lambda manifest: manifest["files"].update({"router.safetensors": entry}))


@st.composite
def weights_strategy(draw: st.DrawFn) -> tuple[RouterWeights, int]:
    models, width, dimensions = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    floats = st.floats(-1e6, 1e6, width=32)
    has_head = draw(st.booleans())
    return RouterWeights(
        llm_embeddings=draw(arrays(np.float32, (models, width if has_head else dimensions), elements=floats)),
        projection_weight=draw(arrays(np.float32, (width, dimensions), elements=floats)) if has_head else None,
        projection_bias=draw(arrays(np.float32, (width,), elements=floats)) if has_head else None,
    ), dimensions


@settings(max_examples=30, deadline=None)  # each example is fsync'd to disk
@given(
    sized=weights_strategy(),
    names=st.lists(st.text(min_size=1), min_size=4, max_size=4, unique=True),
    temperatures=st.tuples(*[st.floats(1e-3, 1e3)] * 2),
    notes=st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
)
def test_a_bundle_survives_saving_and_loading(
    sized: tuple[RouterWeights, int],
    names: list[str],
    temperatures: tuple[float, float],
    notes: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    weights, dimensions = sized
    path = tmp_path_factory.mktemp("bundle") / "b"
    models = tuple(names[: len(weights.llm_embeddings)])
    saved = make(
        path,
        models=models,
        weights=weights,
        encoder=EncoderSpec(name="e", digest="a" * 64, dimensions=dimensions, max_tokens=9, truncation_side="left"),
        temperature=temperatures[0],
        confidence_temperature=temperatures[1],
        training=notes,
    )
    loaded = load_bundle(path)
    assert loaded.manifest == saved.manifest
    assert loaded.models == models
    assert loaded.manifest.training == notes
    assert (loaded.manifest.temperature, loaded.manifest.confidence_temperature) == temperatures
    for name in ("llm_embeddings", "projection_weight", "projection_bias"):
        np.testing.assert_array_equal(getattr(loaded.weights, name), getattr(weights, name))
    assert loaded.digest == hashlib.sha256((path / "router.json").read_bytes()).hexdigest()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bundle") / "b"
    before = make(path)
    file = path / data.draw(st.sampled_from(["router.safetensors", "router.json"]))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    # A flip inside router.json can leave a valid manifest; then the digest, which clients are shown, is another.
    assert outcome_of_loading(path) != before.digest


def outcome_of_loading(path: Path) -> str:
    try:
        return load_bundle(path).digest
    except BundleError as error:
        return str(error)


def test_the_same_input_gives_the_same_digest(tmp_path: Path) -> None:
    assert make(tmp_path / "one").digest == make(tmp_path / "two").digest


def damage_truncate(bundle: Path) -> None:
    file = bundle / "router.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def damage_flip(bundle: Path) -> None:
    file = bundle / "router.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def with_tensors(**changes: Any) -> Callable[[Path], None]:
    tensors = {
        "llm_embeddings": WEIGHTS.llm_embeddings,
        "projection.weight": WEIGHTS.projection_weight,
        "projection.bias": WEIGHTS.projection_bias,
    } | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return lambda bundle: replace_weights(bundle, save(kept))


def with_manifest(**changes: Any) -> Callable[[Path], None]:
    return lambda bundle: edit_manifest(bundle, lambda manifest: manifest.update(changes))


NAN_ROWS = np.array([[1, 0], [0, np.nan], [1, 1]], dtype=np.float32)
BFLOAT16 = b'{"llm_embeddings":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, r"router\.safetensors: has \d+ bytes, router.json says \d+: truncated or altered"),
        (damage_flip, r"router\.safetensors: sha256 is .*: altered"),
        (lambda b: (b / "router.safetensors").unlink(), r"router\.safetensors: missing, though router.json lists it"),
        (lambda b: (b / "router.json").unlink(), r"router\.json: missing"),
        (lambda b: (b / "router.json").write_text("{"), r"router\.json: not valid JSON"),
        (lambda b: (b / "router.json").write_text('{"format": 1, "format": 1}'), "names one key twice"),
        (lambda b: (b / "router.json").write_text("[]"), "this is not a router bundle"),
        (lambda b: (b / "note.txt").write_text("x"), r"note\.txt: not listed in router.json"),
        (lambda b: (b / "state.pt").write_bytes(b"x"), r"state\.pt: looks like a pickle"),
        (lambda b: (b / "link").symlink_to("/etc/hostname"), "link: is a symbolic link"),
        (with_tensors(llm_embeddings=NAN_ROWS), "llm_embeddings: holds NaN or infinity"),
        (with_tensors(llm_embeddings=NAN_ROWS[:, :1]), "NaN|shape"),
        (with_tensors(llm_embeddings=np.ones((2, 2), np.float32)), r"llm_embeddings: shape is \(2, 2\), expected"),
        (with_tensors(llm_embeddings=np.ones(3, np.float32)), r"llm_embeddings: shape is \(3,\), expected"),
        (with_tensors(llm_embeddings=np.ones((3, 2), np.float64)), "llm_embeddings: dtype is float64"),
        (with_tensors(llm_embeddings=None), "'llm_embeddings' is missing"),
        (with_tensors(projection__weight=np.ones((2, 5), np.float32)), r"projection.weight: shape is \(2, 5\)"),
        (with_tensors(projection__bias=None), "projection.weight and projection.bias come together"),
        (with_tensors(surprise=np.ones(1, np.float32)), "unknown tensor 'surprise'"),
        (lambda b: replace_weights(b, b"\xff" * 40), "not a float32 safetensors file"),
        (lambda b: replace_weights(b, len(BFLOAT16).to_bytes(8, "little") + BFLOAT16 + b"xx"), "not a float32"),
        (with_manifest(format="soup"), "format is 'soup'"),
        (with_manifest(format_version=2), "format_version is 2, this release reads 1"),
        (with_manifest(scorer="oracle"), "scorer: Input should be 'routerdc'"),
        (with_manifest(models=["a", "b", "b"]), "models: model names must be unique; twice: b"),
        (with_manifest(models=["a", "b"]), r"llm_embeddings: shape is \(3, 2\), expected \(2, 2\)"),
        (with_manifest(temperature=0), "temperature: "),
        (with_manifest(confidence_temperature=float("nan")), "confidence_temperature|JSON"),
        (with_manifest(files={}), r"files: router\.safetensors is not listed"),
        (with_manifest(colour="red"), "colour: "),
    ],
)
def test_a_bad_bundle_gives_one_clear_line(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "b")
    damage(tmp_path / "b")
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(tmp_path / "b")
    assert str(tmp_path / "b") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    make(tmp_path / "b")
    (tmp_path / "secret").write_text("x")
    entry = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    edit_manifest(tmp_path / "b", lambda manifest: manifest["files"].update({"../secret": entry}))
    with pytest.raises(BundleError, match="must stay inside the bundle"):
        load_bundle(tmp_path / "b")


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="none: no such router bundle directory"):
        load_bundle(tmp_path / "none")


def test_a_bundle_can_carry_its_encoder(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    spec = EncoderSpec(name=BUNDLED_ENCODER, digest="0" * 64, dimensions=2, max_tokens=16)
    weights = RouterWeights(WEIGHTS.llm_embeddings)
    bundle = make(tmp_path / "b", encoder=spec, weights=weights, encoder_folder=folder)
    assert bundle.encoder_path == tmp_path / "b" / "encoder"
    assert make(tmp_path / "c").encoder_path is None
    (tmp_path / "b" / "encoder" / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(BundleError, match=r"encoder/model\.safetensors: sha256"):
        load_bundle(tmp_path / "b")


def test_saving_replaces_a_bundle_but_nothing_else(tmp_path: Path) -> None:
    first = make(tmp_path / "b")
    assert make(tmp_path / "b", training={"steps": 6}).digest != first.digest
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="will not be overwritten"):
        make(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": RouterWeights(NAN_ROWS)}, "NaN"),
        ({"models": ["a", "a", "b"]}, "unique"),
        ({"temperature": -1.0}, "temperature"),
        ({"encoder_folder": Path(__file__).parent}, "encoder.name"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    before = make(tmp_path / "b")
    with pytest.raises(BundleError, match=message):
        make(tmp_path / "b", **changes)
    assert load_bundle(tmp_path / "b").digest == before.digest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
