"""Writes docs/config.md from the settings' models, so that the page cannot disagree with the program."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.settings import Settings

HEAD = """# Configuration

One YAML file, given as `gateway serve --config FILE`. Unknown keys are refused with their path. `${NAME}` in any value
is replaced by the environment variable NAME. Relative paths start at the file's own folder. `gateway validate --config
FILE` prints the document in effect with secrets hidden, and the mapping from the router's models to the served ones.

This page is written by `gateway config-docs`; change gateway/settings.py instead.

The smallest file that serves:

```yaml
version: 1
models:
  - name: my-model
    replicas:
      - base_url: http://127.0.0.1:8101/v1
router:
  policy: fixed
  fixed_model: my-model
  default_model: my-model
```
"""


# What stands in a section's path for one item of a list and one entry of a mapping.
_ITEMS: dict[Any, str] = {tuple: "[]", dict: ".KEY"}


def config_page() -> str:
    """The whole page, Markdown."""
    return "\n".join([HEAD, *_section("", Settings)])


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## `{path}`\n" if path else "## The document\n"
    yield f"{(model.__doc__ or '').strip()}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is not None:
            suffix = _ITEMS.get(get_origin(field.annotation), "")
            nested.append((f"{path}.{name}{suffix}".lstrip("."), inner))
        yield f"| `{name}` | {_value(field)} | {_default(field)} | {_escaped(field.description or '')} |"
    yield ""
    for inner_path, inner in nested:
        yield from _section(inner_path, inner)


def _value(field: FieldInfo) -> str:
    limits = [str(limit) for limit in (_limit(rule) for rule in field.metadata) if limit]
    return _escaped(", ".join([_type_name(field.annotation), *limits]))


def _limit(rule: Any) -> str | None:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return next((f"{signs[name]} {getattr(rule, name)}" for name in signs if hasattr(rule, name)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        made = field.default_factory() if field.default_factory is not None else None  # type: ignore[call-arg]
        return "" if isinstance(made, BaseModel) else f"`{made}`"
    default = field.default
    if default is None:
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple | frozenset):
        return f"`[{', '.join(sorted(map(str, default)))}]`"
    return f"`{default}`"


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in {types.UnionType, Union}:
        return " or ".join(_type_name(part) for part in arguments if part is not type(None))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in arguments)
    if origin in {tuple, frozenset, list}:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", SecretStr: "secret text"}
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation)).lower()


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings model within an annotation, None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_of(part)) is not None), None)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
