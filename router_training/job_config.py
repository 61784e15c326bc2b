"""A job's configuration: a YAML file, flags over it, one frozen model that refuses unknown keys.

Every option of a job has the same name in the file and on the command line (`max_tokens`, `--max-tokens`); a flag that
is given wins. Paths are relative to the working directory, wherever the file lies.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from router_training.errors import JobConfigError

Config = TypeVar("Config", bound=BaseModel)
UNQUOTED: Final = "unquoted"  # type of a PydanticCustomError whose input must not be quoted


def load_job_config(kind: type[Config], file: Path | None, flags: Mapping[str, Any]) -> Config:
    """Read `file` (if any), lay `flags` over it and validate. Raises JobConfigError naming the key and the value."""
    values = {} if file is None else _read_yaml(file)
    try:
        return kind.model_validate({**values, **flags})
    except ValidationError as error:
        lines = [_line(kind, details, flags) for details in error.errors(include_url=False)]
        raise JobConfigError((f"{file}: " if file else "") + "; ".join(lines)) from None


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise JobConfigError(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise JobConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise JobConfigError(f"{file}: must be a mapping of option to value, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _line(kind: type[BaseModel], details: ErrorDetails, flags: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in details["loc"])
    first = str(details["loc"][0]) if details["loc"] else ""
    flag = "--" + first.replace("_", "-")
    if details["type"] == "missing":
        return f"{path}: missing; give {flag} or set it in the file of --config"
    if details["type"] == "extra_forbidden":
        close = difflib.get_close_matches(first, kind.model_fields, n=1)
        return f"{path}: unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    message = details["msg"].removeprefix("Value error, ")
    if not path:
        return message
    quoted = "" if details["type"] == UNQUOTED else f" (got {details['input']!r})"
    return f"{flag if first in flags else path}: {message}{quoted}"
