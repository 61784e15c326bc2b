"""Learning curves, as a job that adds a model measures them: how good the router gets with n probes of the new model.

JSON Lines, one measurement a line: {"probes": 32, "seed": 0, "metric": "routed", "value": 0.574}

Promise: what is read has whole probes of at least 0, a seed, a named metric and a finite value; anything else is a
DataError that names the file and the line.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_training.errors import DataError


class LearningPoint(BaseModel):
    """One measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probes: int = Field(ge=0)
    seed: int
    metric: str = Field(min_length=1)
    value: Annotated[float, Field(allow_inf_nan=False)]


def read_learning_curves(path: Path) -> tuple[LearningPoint, ...]:
    """Read the file. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    points = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            points.append(LearningPoint.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "the whole line"
            raise DataError(f"{path}: line {number}: {key}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number}: not valid JSON: {error}") from error
    if not points:
        raise DataError(f"{path}: holds no measurement")
    return tuple(points)
