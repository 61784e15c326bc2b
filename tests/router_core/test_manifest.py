import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_core.errors import BundleError
from router_core.manifest import FeaturesSpec, SentenceEncoderSpec, parse_manifest

FEATURES = {"backend": "features", "dimensions": 86, "buckets": 8192, "ngrams": [2, 3, 4], "max_bytes": 1024}
SENTENCES = {"backend": "sentence-transformers", "name": "e", "digest": "0" * 64, "dimensions": 4, "max_tokens": 16}
FILE = {"sha256": "0" * 64, "bytes": 1}
ABSTENTION = {"max_regret": 0.01, "thresholds": {"a": 0.1}, "coverage": {"a": 0.5}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def manifest(**changes: Any) -> dict[str, Any]:
    value = {
        "format": "routerdc-bundle",
        "format_version": 2,
        "models": ["a", "b"],
        "encoder": FEATURES,
        "scorer": {"name": "task_prior", "options": {}},
        "files": {"router.safetensors": FILE},
    }
    return {name: each for name, each in (value | changes).items() if each != "left out"}


def content(**changes: Any) -> bytes:
    return json.dumps(manifest(**changes)).encode()


def test_a_manifest_is_read() -> None:
    read = parse_manifest(content(calibration={"method": "isotonic", "pending": ["b"]}, abstention=ABSTENTION), "r")
    assert read.models == ("a", "b")
    assert isinstance(read.encoder, FeaturesSpec)
    assert read.encoder.ngrams == (2, 3, 4)
    assert read.calibration.pending == ("b",)
    assert read.abstention is not None
    assert read.abstention.coverage == {"a": 0.5}


def test_the_backend_says_which_encoder_it_is() -> None:
    encoder = parse_manifest(content(encoder=SENTENCES), "r").encoder
    assert isinstance(encoder, SentenceEncoderSpec)
    assert encoder.truncation_side == "right"


def test_what_may_be_left_out_has_a_default() -> None:
    read = parse_manifest(content(), "r")
    assert (read.calibration.method, read.calibration.pending, read.abstention) == ("none", (), None)
    assert (read.data, read.parents, read.training, read.evaluation) == ((), (), {}, {})


@given(notes=st.dictionaries(st.text(), JSON, max_size=3))
def test_what_was_written_is_read_back(notes: dict[str, Any]) -> None:
    read = parse_manifest(content(training=notes, abstention=ABSTENTION), "r")
    assert parse_manifest(read.model_dump_json().encode(), "r") == read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "soup"}, "format is 'soup', expected 'routerdc-bundle': this is not a router bundle"),
        ({"format": "left out"}, "format is None"),
        (
            {"format_version": 1},
            "format_version is 1, this release reads 2: train the bundle again, or use the release",
        ),
        ({"format_version": 3}, "format_version is 3, this release reads 2"),
        ({"format_version": "left out"}, "format_version is None"),
        ({"models": []}, "models: "),
        ({"models": ["a", ""]}, "models.1: "),
        ({"models": ["a", "b", "b", "a"]}, "models: model names must be unique; twice: a, b"),
        ({"encoder": {**FEATURES, "backend": "oracle"}}, "encoder: .*'oracle'"),
        ({"encoder": {**FEATURES, "buckets": 1000}}, "encoder.features.buckets: 1000 is not a power of two"),
        ({"encoder": {**FEATURES, "buckets": 1 << 21}}, "encoder.features.buckets: "),
        ({"encoder": {**FEATURES, "ngrams": []}}, "encoder.features.ngrams: "),
        ({"encoder": {**FEATURES, "ngrams": [1]}}, "encoder.features.ngrams.0: "),
        ({"encoder": {**FEATURES, "ngrams": [9]}}, "encoder.features.ngrams.0: "),
        ({"encoder": {**FEATURES, "max_bytes": 63}}, "encoder.features.max_bytes: "),
        ({"encoder": {**FEATURES, "max_tokens": 16}}, "encoder.features.max_tokens: Extra"),
        ({"encoder": {**SENTENCES, "digest": "0" * 63}}, "encoder.sentence-transformers.digest: "),
        ({"encoder": {**SENTENCES, "truncation_side": "middle"}}, "encoder.sentence-transformers.truncation_side: "),
        ({"encoder": {**SENTENCES, "name": "bundle:encoder"}}, "does not carry a folder encoder/"),
        ({"files": {"router.safetensors": FILE, "encoder/x.safetensors": FILE}}, "but the bundle carries a folder"),
        ({"scorer": "task_prior"}, "scorer: "),
        ({"scorer": {"name": "x", "colour": "red"}}, "scorer.colour: "),
        ({"calibration": {"method": "guess"}}, "calibration.method: "),
        ({"calibration": {"pending": ["c"]}}, "'c' is none of the models"),
        ({"abstention": {**ABSTENTION, "thresholds": {"z": 0.1}}}, "'z' is none of the models"),
        ({"abstention": {**ABSTENTION, "coverage": {"y": 0.1}}}, "'y' is none of the models"),
        ({"abstention": {**ABSTENTION, "max_regret": 2}}, "abstention.max_regret: "),
        ({"files": {}}, r"files: router\.safetensors is not listed"),
        ({"files": {"router.safetensors": FILE, "../x": FILE}}, "files: file path '../x' must stay inside the bundle"),
        ({"files": {"router.safetensors": FILE, "/x": FILE}}, "files: file path '/x' must stay inside"),
        ({"files": {"router.safetensors": FILE, "a//x": FILE}}, "files: file path 'a//x' must stay inside"),
        ({"files": {"router.safetensors": FILE, "router.json": FILE}}, "files: router.json cannot list itself"),
        ({"files": {"router.safetensors": {**FILE, "bytes": -1}}}, "files.router.safetensors.bytes: "),
        ({"data": [{"name": "t", "sha256": "0" * 64, "rows": 0}]}, "data.0.rows: "),
        ({"colour": "red"}, "colour: Extra"),
        ({"temperature": 1.0}, "temperature: Extra"),
    ],
)
def test_anything_else_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=f"^r: .*{message}") as caught:
        parse_manifest(content(**changes), "r")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "r: not valid JSON"),
        (b"\xff", "r: not valid JSON"),
        (b"[" * 100_000, "r: not valid JSON"),
        (b"[]", "r: format is 'list'"),
        (
            b'{"format": "routerdc-bundle", "format": "routerdc-bundle"}',
            "r: not valid JSON: an object names one key twice",
        ),
        (b'{"format": "x", "a": [{"b": 1, "b": 1}]}', "names one key twice"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_manifest(raw, "r")


@given(raw=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(BundleError, match=r"^r: "):
        parse_manifest(raw, "r")


@given(key=st.sampled_from(sorted(manifest())), value=JSON)
@example("files", {"a\nb": {}})
@example("encoder", {"backend": "features", "a\nb": 1})
@example("encoder", {"backend": "a\nb"})
@example("models", ["a\nb", "a\nb"])
def test_no_value_of_a_key_gives_more_than_one_line(key: str, value: Any) -> None:
    assert "\n" not in outcome(content(**{key: value}))


def outcome(raw: bytes) -> str:
    try:
        parse_manifest(raw, "r")
    except BundleError as error:
        return str(error)
    return "read"
