import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save

from router_core.bundle import (
    BUNDLED_ENCODER,
    AbstentionSpec,
    CalibrationSpec,
    DataEntry,
    EncoderSpec,
    FeaturesSpec,
    Parent,
    RouterBundle,
    ScorerSpec,
    SentenceEncoderSpec,
    load_bundle,
    question_hash,
    save_bundle,
)
from router_core.errors import BundleError
from router_core.features import SURFACE_DIMENSIONS
from tests.support.small_bundle import BUCKETS, DIMENSIONS, small_bundle

Arrays = dict[str, npt.NDArray[Any]]
MODELS = ("a", "b", "c")
FLOATS = st.floats(-1e6, 1e6, width=32)
SENTENCES = SentenceEncoderSpec(name="tiny", digest="0" * 64, dimensions=4, max_tokens=16)


def tensors_of_routerdc() -> Arrays:
    """Tensors for MODELS and SENTENCES: a scorer with a head, calibrated."""
    return {
        "scorer.llm_embeddings": np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32),
        "scorer.projection.weight": np.arange(8, dtype=np.float32).reshape(2, 4),
        "scorer.projection.bias": np.array([0.5, -0.5], dtype=np.float32),
        "calibration.slope": np.ones(3, dtype=np.float32),
        "calibration.bias": np.zeros(3, dtype=np.float32),
        "novelty.centroids": np.ones((2, 4), dtype=np.float32),
        "novelty.scale": np.ones(4, dtype=np.float32),
        "novelty.bounds": np.array([1, 2], dtype=np.float32),
        "novelty.base_rates": np.full(3, 0.5, dtype=np.float32),
        "training.question_hashes": np.array([3, 2**63], dtype=np.uint64),
    }


def make(path: Path, **changes: Any) -> RouterBundle:
    arguments: dict[str, Any] = {
        "models": MODELS,
        "encoder": SENTENCES,
        "scorer": ScorerSpec(name="routerdc"),
        "tensors": tensors_of_routerdc(),
        "calibration": CalibrationSpec(method="temperature"),
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
def bundles(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `make` for a bundle of any encoder, scorer and calibration."""
    models = tuple(draw(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True)))
    if draw(st.booleans()):
        width = draw(st.integers(1, 3))
        dimensions = width + SURFACE_DIMENSIONS
        encoder: EncoderSpec = FeaturesSpec(
            dimensions=dimensions, buckets=256, ngrams=draw(st.sampled_from([(2,), (2, 3, 4), (8,)])), max_bytes=64
        )
        tensors = {
            "encoder.projection": draw(arrays(np.float32, (256, width), elements=FLOATS, fill=FLOATS)),
            "encoder.idf": draw(arrays(np.float32, 256, elements=FLOATS, fill=FLOATS)),
            "encoder.mean": draw(arrays(np.float32, dimensions, elements=FLOATS)),
            "encoder.scale": draw(arrays(np.float32, dimensions, elements=FLOATS)),
        }
    else:
        dimensions = draw(st.integers(1, 5))
        encoder = SentenceEncoderSpec(
            name="e", digest="a" * 64, dimensions=dimensions, max_tokens=9, truncation_side="left"
        )
        tensors = {}
    scorer, of_scorer = draw(scorers(len(models), dimensions))
    method, of_calibration = draw(calibrations(len(models)))
    of_novelty = {
        "novelty.centroids": draw(arrays(np.float32, (draw(st.integers(1, 3)), dimensions), elements=FLOATS)),
        "novelty.scale": draw(arrays(np.float32, dimensions, elements=FLOATS)),
        "novelty.bounds": np.array([0.5, 2], dtype=np.float32),
        "novelty.base_rates": draw(arrays(np.float32, len(models), elements=FLOATS)),
    }
    hashes = draw(st.none() | st.sets(st.integers(0, 2**64 - 1)))
    if hashes is not None:
        of_novelty["training.question_hashes"] = np.array(sorted(hashes), dtype=np.uint64)
    some = st.lists(st.sampled_from(models), unique=True)
    return {
        "models": models,
        "encoder": encoder,
        "scorer": scorer,
        "calibration": CalibrationSpec(method=method, pending=tuple(draw(some))),
        "abstention": draw(
            st.none()
            | some.map(
                lambda names: AbstentionSpec(
                    max_regret=0.01, thresholds=dict.fromkeys(names, 0.5), coverage=dict.fromkeys(names, 1 / 3)
                )
            )
        ),
        "tensors": tensors | of_scorer | of_calibration | of_novelty,
        "training": draw(st.dictionaries(st.text(), st.text() | st.integers() | st.none())),
    }


@st.composite
def scorers(draw: st.DrawFn, models: int, dimensions: int) -> tuple[ScorerSpec, Arrays]:
    rows = draw(st.integers(1, 4))
    if draw(st.booleans()):
        return ScorerSpec(name="routerdc"), {
            "scorer.llm_embeddings": draw(arrays(np.float32, (models, rows), elements=FLOATS)),
            "scorer.projection.weight": draw(arrays(np.float32, (rows, dimensions), elements=FLOATS)),
            "scorer.projection.bias": draw(arrays(np.float32, rows, elements=FLOATS)),
        }
    return ScorerSpec(name="prior_residual", options={"residual": None}), {
        "scorer.prior.weight": draw(arrays(np.float32, (rows, dimensions), elements=FLOATS)),
        "scorer.prior.bias": draw(arrays(np.float32, rows, elements=FLOATS)),
        "scorer.prior.accuracy": draw(arrays(np.float32, (rows, models), elements=FLOATS)),
    }


@st.composite
def calibrations(draw: st.DrawFn, models: int) -> tuple[str, Arrays]:
    if draw(st.booleans()):
        return "temperature", {
            "calibration.slope": draw(arrays(np.float32, models, elements=st.floats(0, 1e6, width=32))),
            "calibration.bias": draw(arrays(np.float32, models, elements=FLOATS)),
        }
    knots = draw(st.integers(1, 4))
    return "isotonic", {
        "calibration.x": np.tile(np.arange(knots, dtype=np.float32), (models, 1)),
        "calibration.y": np.sort(draw(arrays(np.float32, (models, knots), elements=st.floats(0, 1, width=32)))),
    }


@settings(max_examples=30, deadline=None)  # each example is fsync'd to disk
@given(arguments=bundles())
def test_a_bundle_survives_saving_and_loading(
    arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "b"
    saved = make(path, **arguments)
    loaded = load_bundle(path)
    assert loaded.manifest == saved.manifest
    for name in ("models", "encoder", "scorer", "calibration", "abstention", "training"):
        assert getattr(loaded.manifest, name) == arguments[name]
    assert loaded.tensors.keys() == arguments["tensors"].keys()
    for name, tensor in arguments["tensors"].items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype
    assert (loaded.features is None) == (arguments["encoder"].backend != "features")
    assert loaded.digest == hashlib.sha256((path / "router.json").read_bytes()).hexdigest()


def test_a_features_bundle_goes_from_text_to_ranking(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "b")
    assert bundle.features is not None
    scores = bundle.router.score(*bundle.features.encode(["2 + 2 = ?", "What is love?", "爱是什么呢" * 5]))
    assert scores.ranking()[:, 0].tolist() == [0, 1, 1]
    # The last is strange: both models draw near their mean base rate, 0.55.
    np.testing.assert_allclose(scores.probability, [[0.9, 0.2], [0.3, 0.8], [0.5375, 0.5625]], atol=0.01)
    np.testing.assert_allclose(scores.novelty, [0, 0, 0.95], atol=0.01)


def test_the_questions_of_training_are_known_by_their_hash(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "b", training_questions=["What is love?", "Why?"])
    assert bundle.question_hashes is not None
    assert question_hash("  what IS\nlove? ") in bundle.question_hashes
    assert question_hash("What is hate?") not in bundle.question_hashes
    assert small_bundle(tmp_path / "c").question_hashes is None


def test_a_question_hash_is_the_start_of_a_sha256() -> None:
    digest = hashlib.sha256(b"what is strasse?").hexdigest()
    assert question_hash("What  is Straße?") == int.from_bytes(bytes.fromhex(digest[:16]), "little")
    assert question_hash("half a pair \ud800") == question_hash("half a pair ?")


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
    """Change the weights: a new tensor, None to leave one out; __ stands for a dot."""

    def damage(bundle: Path) -> None:
        tensors = load_file(bundle / "router.safetensors")
        tensors |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
        replace_weights(bundle, save({name: tensor for name, tensor in tensors.items() if tensor is not None}))

    return damage


def with_manifest(**changes: Any) -> Callable[[Path], None]:
    return lambda bundle: edit_manifest(bundle, lambda manifest: manifest.update(changes))


def ones(*shape: int) -> npt.NDArray[np.float32]:
    return np.ones(shape, dtype=np.float32)


NAN_ROWS = np.array([[1, 0], [0, np.nan], [1, 1]], dtype=np.float32)
BFLOAT16 = b'{"scorer.bias":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
UNKNOWN_SCORER = r"router\.safetensors: scorer 'oracle' is not known here; known: clusters, .*task_prior"


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
        (lambda b: (b / "STATE.PKL").write_bytes(b"x"), r"STATE\.PKL: looks like a pickle"),
        (lambda b: (b / "link").symlink_to("/etc/hostname"), "link: is a symbolic link"),
        (lambda b: relink(b / "router.safetensors"), r"router\.safetensors: is a symbolic link"),
        (lambda b: relink(b / "router.json"), r"router\.json: is a symbolic link"),
        (lambda b: (b / "folder").symlink_to(b.parent), "folder: is a symbolic link"),
        (with_tensors(scorer__llm_embeddings=NAN_ROWS), "scorer.llm_embeddings: holds NaN or infinity"),
        (with_tensors(calibration__slope=np.full(3, np.inf, np.float32)), "calibration.slope: holds NaN or infinity"),
        (with_tensors(scorer__llm_embeddings=ones(2, 2)), r"scorer.llm_embeddings: shape is \(2, 2\), expected \(M, P"),
        (with_tensors(scorer__llm_embeddings=ones(3)), r"scorer.llm_embeddings: shape is \(3,\), expected"),
        (with_tensors(scorer__llm_embeddings=np.ones((3, 2))), "scorer.llm_embeddings: dtype is float64, expected"),
        (with_tensors(scorer__llm_embeddings=None), "tensor 'scorer.llm_embeddings' is missing"),
        (with_tensors(scorer__projection__weight=ones(2, 5)), r"scorer.projection.weight: shape is \(2, 5\)"),
        (with_tensors(scorer__projection__bias=None), "projection.bias come together; one is missing"),
        (with_tensors(calibration__bias=None), "tensor 'calibration.bias' is missing"),
        (with_tensors(novelty__bounds=None), "tensor 'novelty.bounds' is missing"),
        (with_tensors(novelty__centroids=ones(2, 3)), r"novelty.centroids: shape is \(2, 3\)"),
        (with_tensors(training__question_hashes=np.array([1])), "training.question_hashes: is int64"),
        (with_tensors(surprise=ones(1)), "unknown tensor 'surprise'"),
        (with_tensors(encoder__idf=ones(256)), "unknown tensor 'encoder.idf'"),
        (lambda b: replace_weights(b, b"\xff" * 40), "not a float32 safetensors file"),
        (lambda b: replace_weights(b, b""), "not a float32 safetensors file"),
        (lambda b: replace_weights(b, len(BFLOAT16).to_bytes(8, "little") + BFLOAT16 + b"xx"), "not a float32"),
        (with_manifest(format="soup"), "format is 'soup'"),
        (with_manifest(format_version=1), "format_version is 1, this release reads 2: train the bundle again"),
        (with_manifest(format_version=3), "format_version is 3, this release reads 2"),
        (with_manifest(scorer={"name": "oracle"}), UNKNOWN_SCORER),
        (with_manifest(scorer={"name": "task_prior"}), "tensor 'scorer.weight' is missing"),
        (with_manifest(calibration={"method": "none"}), "calibration none needs a scorer that gives probabilities"),
        (with_manifest(calibration={"method": "isotonic"}), "tensor 'calibration.x' is missing"),
        (with_manifest(models=["a", "b", "b"]), "models: model names must be unique; twice: b"),
        (with_manifest(models=["a", "b"]), r"shape is \(3, 2\), expected \(M, P\) with M = 2"),
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


def relink(file: Path) -> None:
    """Put a link to the very same content where a file is."""
    real = file.rename(file.parent.parent / file.name)
    file.symlink_to(real)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__projection": ones(BUCKETS, 2)}, "encoder.projection: 2 directions and 22 surface features make 24"),
        ({"encoder__projection": None}, "tensor 'encoder.projection' is missing"),
        ({"encoder__idf": ones(BUCKETS + 1)}, r"encoder.idf: shape is \(257,\), expected \(H\) with H = 256"),
        ({"encoder__mean": np.full(DIMENSIONS, np.nan, np.float32)}, "encoder.mean: holds NaN or infinity"),
        ({"scorer__prior__bias": ones(3)}, r"scorer.prior.bias: shape is \(3,\)"),
        ({"scorer__residual__weight": ones(2, DIMENSIONS)}, "unknown tensor 'scorer.residual.weight'"),
        ({"calibration__slope": ones(2)}, "unknown tensor 'calibration.slope'"),
    ],
)
def test_a_bad_features_bundle_gives_one_clear_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    small_bundle(tmp_path / "b")
    with_tensors(**changes)(tmp_path / "b")
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(tmp_path / "b")
    assert str(tmp_path / "b" / "router.safetensors") in str(caught.value)


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
    spec = SENTENCES.model_copy(update={"name": BUNDLED_ENCODER})
    bundle = make(tmp_path / "b", encoder=spec, encoder_folder=folder)
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
        ({"tensors": tensors_of_routerdc() | {"scorer.llm_embeddings": NAN_ROWS}}, "NaN"),
        ({"tensors": tensors_of_routerdc() | {"surprise": ones(1)}}, "unknown tensor 'surprise'"),
        ({"models": ["a", "a", "b"]}, "unique"),
        ({"models": ["a", "b"]}, "with M = 2"),
        ({"scorer": ScorerSpec(name="oracle")}, "'oracle' is not known here"),
        ({"calibration": CalibrationSpec(method="temperature", pending=("z",))}, "'z' is none of the models"),
        ({"encoder_folder": Path(__file__).parent}, "encoder.name"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    before = make(tmp_path / "b")
    with pytest.raises(BundleError, match=message):
        make(tmp_path / "b", **changes)
    assert load_bundle(tmp_path / "b").digest == before.digest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
