"""The configuration document: read once, checked, and shown again with every secret as asterisks.

`${NAME}` takes an environment variable; nothing else in the gateway looks at the environment. What a document may hold
is in settings.py.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gateway.errors import ConfigError
from gateway.settings import Settings

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_settings(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the document at `path`.

    Raises ConfigError in one line that names the offending key: unreadable file, bad YAML, an environment variable that
    is not set, an unknown key, a value out of range, names that do not agree. Relative paths in the document are taken
    from the document's folder.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {_yaml_fault(error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: the document must be a mapping that starts with `version: 1`")
    try:
        settings = Settings.model_validate(_with_environment(document, environment, path, ""))
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error)}") from None
    return _anchored(settings, path)


def redacted(settings: Settings) -> str:
    """The effective document as YAML, with every secret shown as asterisks."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _with_environment(value: Any, environment: Mapping[str, str], path: Path, where: str) -> Any:
    if isinstance(value, dict):
        return {
            key: _with_environment(item, environment, path, f"{where}.{key}".lstrip(".")) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_environment(item, environment, path, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(f"{path}: {where}: environment variable {name} is not set")
        return environment[name]

    return _VARIABLE.sub(substitute, value)


def _yaml_fault(error: Exception) -> str:
    """Where and what, without the line itself, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return "it is not UTF-8 text without control characters"


def first_fault(error: ValidationError) -> str:
    """The first fault as `path: what is wrong`, without the value (it may be a secret)."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for part in fault["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key; see docs/config.md for the keys of this section"
    more = error.error_count() - 1
    return f"{where.lstrip('.') + ': ' if where else ''}{message}" + (f" (and {more} more)" if more else "")


def _anchored(settings: Settings, path: Path) -> Settings:
    folder, router, decisions = path.parent, settings.router, settings.decisions
    if router.bundle is not None:
        router = router.model_copy(update={"bundle": folder / router.bundle})
    if decisions.path is not None:
        decisions = decisions.model_copy(update={"path": folder / decisions.path})
    file = folder / (settings.control.file or f"{path.stem}.control.json")
    control = settings.control.model_copy(update={"file": file})
    return settings.model_copy(update={"router": router, "decisions": decisions, "control": control})
