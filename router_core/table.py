"""Queries with verifiable answers, and the training table: how well each LLM answered each query.

Two JSON Lines formats (one object a line, UTF-8, `.gz` allowed; empty lines are skipped):

    query file       {"id", "question", "task", "answer": AnswerSpec, "template"?, "group"?}
    training table   {"id", "question", "task": str | null, "cluster_id": int | null, "group": str | null,
                      "scores": {model: 0..1}, "samples": answers drawn per model, at least 1}

Rows of one `group` (a wording, a conversation, a user) are never split between fitting and judging, so that what is
judged is how a router does on groups that it has not seen.

`read_table` also reads the files that RouterDC published: one JSON list of {"question", "scores", "cluster_id"?}. Such
rows have no id, task or sample count; they get the id "<file>:<row>", no task and 1 sample.

Promise: every row of a table scores the same models, ids are unique, scores are finite and within 0..1; anything else
is a TableError that names the file and the row. Writing is atomic, and the same rows give the same bytes.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_core.answers import AnswerSpec
from router_core.errors import TableError
from router_core.publish import publish_file

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
ModelName = Annotated[str, Field(min_length=1)]
Row = TypeVar("Row", bound=BaseModel)


class Query(BaseModel):
    """One query whose answer can be checked. `template` names the wording that made it, so wordings can be held out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    task: str
    answer: AnswerSpec
    template: str | None = None
    group: str | None = None


class TableRow(BaseModel):
    """One query and, for each LLM of the pool, the share of its `samples` answers that were right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    question: str
    task: str | None = None
    cluster_id: int | None = None
    group: str | None = None
    scores: dict[ModelName, Score] = Field(min_length=1)
    samples: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Table:
    """A training table in memory: N rows, M models. `scores` is float64 (N, M), columns in the order of `models`."""

    models: tuple[str, ...]
    rows: tuple[TableRow, ...]
    scores: npt.NDArray[np.float64]

    @property
    def questions(self) -> list[str]:
        """The question of each row."""
        return [row.question for row in self.rows]

    @property
    def tasks(self) -> list[str | None]:
        """The task of each row; None where the file names none."""
        return [row.task for row in self.rows]

    @property
    def cluster_ids(self) -> list[int | None]:
        """The cluster of each row; None where the file gives none."""
        return [row.cluster_id for row in self.rows]

    @property
    def groups(self) -> list[str | None]:
        """The group of each row; None where the file gives none."""
        return [row.group for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)


def read_queries(path: Path | str) -> list[Query]:
    """Read a query file. Raises TableError."""
    path = Path(path)
    queries: list[Query] = []
    seen: set[str] = set()
    for number, text in _json_lines(_read_text(path)):
        query = _validated(Query, _parse_json(text, path, f"line {number}"), path, f"line {number}")
        _claim_id(query.id, seen, path, f"line {number}")
        queries.append(query)
    if not queries:
        raise TableError(f"{path}: holds no query")
    return queries


def read_table(path: Path | str) -> Table:
    """Read a training table, or a file of RouterDC's own data. Raises TableError."""
    path = Path(path)
    text = _read_text(path)
    if text.lstrip().startswith("["):
        located = _routerdc_rows(text, path)
    else:
        located = (
            (f"line {number}", _validated(TableRow, _parse_json(line, path, f"line {number}"), path, f"line {number}"))
            for number, line in _json_lines(text)
        )
    rows: list[TableRow] = []
    seen: set[str] = set()
    for place, row in located:
        _claim_id(row.id, seen, path, place)
        if rows and row.scores.keys() != rows[0].scores.keys():
            odd = sorted(row.scores.keys() ^ rows[0].scores.keys())
            raise TableError(f"{path}: {place}: every row must score the same models; not in both: {', '.join(odd)}")
        rows.append(row)
    if not rows:
        raise TableError(f"{path}: holds no row")
    return table_of_rows(rows)


def table_of_rows(rows: Iterable[TableRow]) -> Table:
    """Gather rows that score the same models; the first row gives the order of the columns. Raises TableError."""
    kept = tuple(rows)
    if not kept:
        raise TableError("a table needs at least one row")
    models = tuple(kept[0].scores)
    for row in kept:
        if row.scores.keys() != kept[0].scores.keys():
            raise TableError(f"row {row.id!r} scores other models than row {kept[0].id!r}")
    scores = np.array([[row.scores[model] for model in models] for row in kept], dtype=np.float64)
    return Table(models=models, rows=kept, scores=scores)


def write_table(path: Path | str, rows: Iterable[TableRow]) -> None:
    """Write a training table atomically; a name ending in .gz is compressed. Raises TableError, OSError."""
    path = Path(path)
    table = table_of_rows(rows)
    content = "".join(row.model_dump_json() + "\n" for row in table.rows).encode()
    # mtime=0: the same rows give the same bytes, so a digest of the file means something.
    publish_file(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from error


def _json_lines(text: str) -> Iterator[tuple[int, str]]:
    # Not str.splitlines: that also splits at U+2028 and its like, which JSON allows inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _parse_json(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text)
    # ValueError: bad JSON, or a number beyond Python's limit of digits.
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path}: {place}: not valid JSON: {error}") from error


def _validated(kind: type[Row], value: Any, path: Path, place: str) -> Row:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole row"
        raise TableError(f"{path}: {place}: {key}: {first['msg']}") from error


def _routerdc_rows(text: str, path: Path) -> Iterator[tuple[str, TableRow]]:
    # A foreign format: keys that we do not read are let be.
    stem = path.name.removesuffix(".gz").removesuffix(".json")
    for index, item in enumerate(_parse_json(text, path, "the file")):
        place = f"row {index}"
        if not isinstance(item, dict):
            raise TableError(f"{path}: {place}: must be an object with question and scores")
        known = {key: item[key] for key in ("question", "scores", "cluster_id") if key in item}
        yield place, _validated(TableRow, {"id": f"{stem}:{index}", **known}, path, place)


def _claim_id(row_id: str, seen: set[str], path: Path, place: str) -> None:
    if row_id in seen:
        raise TableError(f"{path}: {place}: id {row_id!r} occurs twice")
    seen.add(row_id)
