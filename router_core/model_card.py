"""The model card: what a served model is, where it comes from, and how to make it again.

One `card.json` beside the weights. It names the parents and their digests, the data and its seed, the method, the one
command that makes the model again, and the sha256 and size of every file. `digest` identifies the weights: the sha256
over the sorted "name sha256" lines of `files`.

Promises: `verify_model_card` accepts a folder only if it holds exactly the files of its card, unaltered; writing is
atomic. Leaves out: signatures, and the weights' own format.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from router_core.errors import ModelCardError
from router_core.publish import publish_file

CARD_NAME = "card.json"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_BLOCK_BYTES = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parent(_Frozen):
    """A model this one was made from."""

    name: str = Field(min_length=1)
    digest: Sha256


class FileEntry(_Frozen):
    """One file of the model."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class DataSource(_Frozen):
    """One file that was trained on: its name, what made it, and its digest."""

    name: str = Field(min_length=1)
    sha256: Sha256
    rows: int = Field(ge=0)


class ModelCard(_Frozen):
    """A served model's manifest."""

    name: str = Field(min_length=1)
    kind: Literal["base", "lora"]
    base: str = Field(min_length=1, description="the model it needs to run; its own name for a base")
    parents: tuple[Parent, ...] = ()
    method: str = Field(min_length=1, description="what made it, in the field's words")
    recipe: dict[str, Any] = Field(default_factory=dict, description="every option of the job that made it")
    data: tuple[DataSource, ...] = ()
    seed: int | None = None
    rank: int | None = Field(default=None, ge=1, description="of a LoRA, as served")
    files: dict[str, FileEntry] = Field(min_length=1)
    digest: Sha256
    licence: str = Field(min_length=1)
    prompt_template: str | None = Field(default=None, description="chat template it was trained with")
    command: str = Field(min_length=1, description="the one command that makes it again")
    evaluation: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
                raise ValueError(f"file name {name!r} must be a plain relative path inside the folder")
        if self.digest != digest_of_files(self.files):
            raise ValueError("digest does not belong to files")
        if self.kind == "lora" and self.rank is None:
            raise ValueError("a lora card needs rank")
        return self


def digest_of_files(files: dict[str, FileEntry]) -> str:
    """The digest that identifies a model: over its files' names and sha256, in sorted order."""
    lines = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def describe_file(path: Path) -> FileEntry:
    """sha256 and size of one file. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return FileEntry(sha256=digest.hexdigest(), bytes=size)


def describe_folder(folder: Path) -> dict[str, FileEntry]:
    """Every file of a folder but its card. Raises ModelCardError on a symbolic link, OSError."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ModelCardError(f"{path}: is a symbolic link; a model's folder holds its own files")
        if path.is_file() and path != folder / CARD_NAME:
            entries[path.relative_to(folder).as_posix()] = describe_file(path)
    return entries


def read_model_card(path: Path | str) -> ModelCard:
    """Read a card (the file, or the folder that holds card.json). Raises ModelCardError."""
    path = Path(path)
    if path.is_dir():
        path = path / CARD_NAME
    try:
        return ModelCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelCardError(f"{path}: no such model card") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the card"
        raise ModelCardError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelCardError(f"{path}: cannot be read: {error}") from error


def write_model_card(path: Path | str, card: ModelCard) -> None:
    """Write a card atomically. Raises OSError."""
    publish_file(Path(path), (card.model_dump_json(indent=2) + "\n").encode())


def verify_model_card(folder: Path | str) -> ModelCard:
    """The card of `folder`, after every file was found as the card has it. Raises ModelCardError."""
    folder = Path(folder)
    card = read_model_card(folder)
    found = describe_folder(folder)
    for name, entry in card.files.items():
        if name not in found:
            raise ModelCardError(f"{folder / name}: is in the card but missing; make it again: {card.command}")
        if found[name] != entry:
            raise ModelCardError(
                f"{folder / name}: was altered: sha256 {found[name].sha256[:12]} ({found[name].bytes} bytes), "
                f"the card says {entry.sha256[:12]} ({entry.bytes} bytes); make it again: {card.command}"
            )
    strangers = sorted(found.keys() - card.files.keys())
    if strangers:
        raise ModelCardError(f"{folder / strangers[0]}: is not in the card; remove it")
    return card
