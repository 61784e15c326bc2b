"""The router bundle: a directory with everything the gateway needs to score a query, and proof that it is whole.

    router.json           the manifest (router_core/manifest.py)
    router.safetensors    tensors by what reads them, all float32 but the last:
        encoder.*                of the `features` encoder (features.py)
        scorer.*                 of the scorer that the manifest names (scoring/)
        calibration.*, novelty.* of scoring/calibration.py and scoring/novelty.py
        training.question_hashes uint64, rising: `question_hash` of every training question; optional
    encoder/              only when the bundle carries a neural encoder: its sentence-transformers folder, or what
                          exported_encoder.py runs

Promise: `load_bundle` gives a bundle only if every listed file is there with its size and sha256, nothing is there that
the manifest does not list, no file is a link or a pickle, and every tensor is known, has its shape and is finite.
Otherwise it raises BundleError, one line that names the file. `save_bundle` publishes all of it at once or nothing.

Leaves out: loading a neural encoder; see encoder_files.py for where its weights are.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from router_core.errors import BundleError
from router_core.features import FeaturesEncoder
from router_core.manifest import (
    BUNDLED_ENCODER,
    ENCODER_FOLDER,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    AbstentionSpec,
    BundleManifest,
    CalibrationSpec,
    DataEntry,
    EncoderSpec,
    FeaturesSpec,
    FileEntry,
    Parent,
    ScorerSpec,
    SentenceEncoderSpec,
    parse_manifest,
)
from router_core.publish import publish_directory
from router_core.scoring.learned import LearnedRouter, Scores
from router_core.tensors import AnyArray, Tensors

__all__ = [
    "BUNDLED_ENCODER",
    "AbstentionSpec",
    "BundleManifest",
    "CalibrationSpec",
    "DataEntry",
    "EncoderSpec",
    "FeaturesSpec",
    "FileEntry",
    "Parent",
    "RouterBundle",
    "ScorerSpec",
    "Scores",
    "SentenceEncoderSpec",
    "load_bundle",
    "question_hash",
    "save_bundle",
]

QUESTION_HASHES = "training.question_hashes"

# A pickle runs code when it is opened; these are the names it usually goes by.
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"})


@dataclass(frozen=True)
class RouterBundle:
    """A verified bundle. `digest` is the sha256 of router.json, which itself holds the sha256 of every other file."""

    path: Path
    digest: str
    manifest: BundleManifest
    tensors: Mapping[str, AnyArray]
    router: LearnedRouter
    features: FeaturesEncoder | None
    """The encoder, if it is the `features` one, whose tensors are the bundle's own."""

    @property
    def models(self) -> tuple[str, ...]:
        """LLM names, in the order of the score columns."""
        return self.manifest.models

    @property
    def encoder(self) -> EncoderSpec:
        """Which encoder makes the vectors that this bundle scores."""
        return self.manifest.encoder

    @property
    def question_hashes(self) -> npt.NDArray[np.uint64] | None:
        """`question_hash` of every training question, rising; None where the bundle does not say."""
        return self.tensors.get(QUESTION_HASHES)

    @property
    def encoder_path(self) -> Path | None:
        """The folder of the encoder that the bundle carries; None when it names one that lives elsewhere."""
        return self.path / ENCODER_FOLDER if self.encoder.name == BUNDLED_ENCODER else None


def load_bundle(path: Path | str) -> RouterBundle:
    """Read and verify a bundle. Raises BundleError."""
    root = Path(path)
    try:
        if not root.is_dir():
            raise BundleError(f"{root}: no such router bundle directory")
        return _load_verified(root)
    except OSError as error:
        raise BundleError(f"{root}: cannot be read: {error}") from error


def save_bundle(
    path: Path | str,
    *,
    models: Sequence[str],
    encoder: EncoderSpec,
    scorer: ScorerSpec,
    tensors: Mapping[str, AnyArray],
    calibration: CalibrationSpec | None = None,
    abstention: AbstentionSpec | None = None,
    data: Sequence[DataEntry] = (),
    parents: Sequence[Parent] = (),
    training: Mapping[str, JsonValue] | None = None,
    evaluation: Mapping[str, JsonValue] | None = None,
    encoder_folder: Path | None = None,
) -> RouterBundle:
    """Write a bundle atomically, then load it back. An older bundle at `path` is replaced; anything else is refused.

    `encoder_folder` is copied in as encoder/ and needs `encoder.name` "bundle:encoder". Raises BundleError.
    """
    destination = Path(path)
    if destination.exists() and not _is_replaceable(destination):
        raise BundleError(f"{destination}: exists and is not a router bundle; it will not be overwritten")
    try:
        with publish_directory(destination) as draft:
            (draft / WEIGHTS_NAME).write_bytes(
                save_tensors({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
            )
            if encoder_folder is not None:
                shutil.copytree(encoder_folder, draft / ENCODER_FOLDER)
            manifest = BundleManifest(
                models=tuple(models),
                encoder=encoder,
                scorer=scorer,
                calibration=calibration or CalibrationSpec(),
                abstention=abstention,
                files=_file_entries(draft),
                data=tuple(data),
                parents=tuple(parents),
                training=dict(training or {}),
                evaluation=dict(evaluation or {}),
            )
            (draft / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            # Verified before it is published: what we could not load must not replace what works.
            load_bundle(draft)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "bundle"
        raise BundleError(f"{destination}: {key}: {first['msg'].removeprefix('Value error, ')}") from error
    except OSError as error:
        raise BundleError(f"{destination}: cannot be written: {error}") from error
    return load_bundle(destination)


def _load_verified(root: Path) -> RouterBundle:
    manifest_path = root / MANIFEST_NAME
    _refuse_link(manifest_path)
    if not manifest_path.is_file():
        raise BundleError(f"{manifest_path}: missing; {root} is not a router bundle, or is incomplete")
    content = manifest_path.read_bytes()
    manifest = parse_manifest(content, str(manifest_path))
    _check_listing(root, manifest)
    for name, entry in manifest.files.items():
        if name != WEIGHTS_NAME:
            _check_file(root / name, entry)
    # Hashed and parsed from the same bytes: nothing can change between the check and the use.
    weights_content = (root / WEIGHTS_NAME).read_bytes()
    _check_digest(
        root / WEIGHTS_NAME,
        manifest.files[WEIGHTS_NAME],
        len(weights_content),
        hashlib.sha256(weights_content).hexdigest(),
    )
    tensors = _parse_tensors(weights_content, str(root / WEIGHTS_NAME))
    router, features = _readers(manifest, tensors, str(root / WEIGHTS_NAME))
    return RouterBundle(
        path=root,
        digest=hashlib.sha256(content).hexdigest(),
        manifest=manifest,
        tensors=MappingProxyType(tensors),
        router=router,
        features=features,
    )


def _check_listing(root: Path, manifest: BundleManifest) -> None:
    present = set()
    for entry in sorted(root.rglob("*")):
        _refuse_link(entry)
        if entry.is_dir():
            continue
        name = entry.relative_to(root).as_posix()
        if entry.suffix.lower() in _PICKLE_SUFFIXES:
            raise BundleError(f"{entry}: looks like a pickle, which can run code; a bundle holds safetensors only")
        if name != MANIFEST_NAME:
            present.add(name)
    missing = sorted(manifest.files.keys() - present)
    if missing:
        raise BundleError(f"{root / missing[0]}: missing, though {MANIFEST_NAME} lists it; copy the whole bundle again")
    unlisted = sorted(present - manifest.files.keys())
    if unlisted:
        raise BundleError(f"{root / unlisted[0]}: not listed in {MANIFEST_NAME}; remove it")


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise BundleError(f"{path}: is a symbolic link; a bundle holds plain files only")


def _check_file(path: Path, entry: FileEntry) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        _check_digest(path, entry, file.tell(), digest)


def _check_digest(path: Path, entry: FileEntry, size: int, digest: str) -> None:
    if size != entry.bytes:
        raise BundleError(f"{path}: has {size} bytes, {MANIFEST_NAME} says {entry.bytes}: truncated or altered")
    if digest != entry.sha256:
        raise BundleError(f"{path}: sha256 is {digest[:12]}..., {MANIFEST_NAME} says {entry.sha256[:12]}...: altered")


def _parse_tensors(content: bytes, where: str) -> dict[str, AnyArray]:
    try:
        return load_tensors(content)
    # KeyError: a dtype that numpy does not have (bfloat16 and float8), which safetensors looks up in a dict.
    except (SafetensorError, KeyError) as error:
        raise BundleError(f"{where}: not a float32 safetensors file: {error}") from error


def _readers(
    manifest: BundleManifest, named: Mapping[str, AnyArray], where: str
) -> tuple[LearnedRouter, FeaturesEncoder | None]:
    """What reads the tensors. Each takes its own, so that none is missing, unknown, misshapen or not finite."""
    tensors = Tensors(named, where, {"M": len(manifest.models), "D": manifest.encoder.dimensions})
    spec = manifest.encoder
    features = FeaturesEncoder(spec, tensors) if isinstance(spec, FeaturesSpec) else None
    router = LearnedRouter(manifest, tensors)
    tensors.take_hashes(QUESTION_HASHES)
    tensors.refuse_rest()
    return router, features


def question_hash(question: str) -> int:
    """64 bits of the SHA-256 of a question, case and spacing put aside: what a duplicate shares."""
    folded = " ".join(question.casefold().split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(folded).digest()[:8], "little")


def _file_entries(root: Path) -> dict[str, FileEntry]:
    entries = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            entries[path.relative_to(root).as_posix()] = FileEntry(
                sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)
            )
    return entries


def _is_replaceable(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    return (path / MANIFEST_NAME).is_file() or not any(path.iterdir())
