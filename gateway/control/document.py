"""The control document: what can change while the gateway runs, in one piece with one version.

It lies over the configuration file: models that it holds are added to the configured ones or take the place of those
of the same name, models that it removes are not served, its bundle goes before `router.bundle`, and its keys are the
gateway's keys. Whatever it makes of the configuration has to pass every check that a configuration passes.

Promises: `version` rises by one with every change; a document is taken as a whole or not at all. It holds no secret:
hashes of keys, and for the servers' own keys the names of environment variables. Only those that the configuration
lists are read, so that who may change models cannot send the gateway's other secrets to a server of theirs.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.access.keys import KeyRecord
from gateway.errors import ConfigError
from gateway.settings import ModelName, ModelSettings, Settings
from gateway.settings_file import first_fault

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BundleChoice(_Part):
    """A router bundle: an absolute folder, the same on every host, and the digest that it must have."""

    path: Path
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value


class ControlDocument(_Part):
    """The whole document. Version 0 is the empty one, which is what there is before the first change.

    `models` are entries as in the configuration's `models`, except that a replica's `api_key` is always `${NAME}`.
    """

    format: Literal["routerdc-gateway-control"] = "routerdc-gateway-control"
    format_version: Literal[1] = 1
    version: Annotated[int, Field(ge=0)] = 0
    models: tuple[dict[str, Any], ...] = ()
    removed_models: tuple[ModelName, ...] = ()
    bundle: BundleChoice | None = None
    keys: tuple[KeyRecord, ...] = ()

    @field_validator("models")
    @classmethod
    def _are_models(cls, entries: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for entry in entries:
            try:
                ModelSettings.model_validate(entry)
            except ValidationError as error:
                raise ValueError(f"{entry.get('name')!r}: {first_fault(error)}") from None
            for index, replica in enumerate(entry["replicas"]):
                key = replica.get("api_key")
                if key is not None and _VARIABLE.fullmatch(key) is None:
                    raise ValueError(
                        f"{entry['name']!r}: replicas[{index}].api_key: name an environment variable that "
                        "control.api_key_variables lists, as ${VLLM_API_KEY}"
                    )
        return entries

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for part, names in (
            ("models", [*(entry["name"] for entry in self.models), *self.removed_models]),
            ("keys", [record.id for record in self.keys]),
        ):
            repeated = sorted(name for name, count in Counter(names).items() if count > 1)
            if repeated:
                raise ValueError(f"{part}: twice: {', '.join(repeated)}")
        return self

    @property
    def routes_as(self) -> tuple[object, ...]:
        """Everything but the keys: two documents that agree here serve the same models in the same way."""
        return self.models, self.removed_models, self.bundle


def effective(configured: Settings, document: ControlDocument, environment: Mapping[str, str] = os.environ) -> Settings:
    """The configuration with the document over it. Raises ConfigError in one line if the two do not go together."""
    if not any(document.routes_as):
        return configured
    values = configured.model_dump()
    given = {
        entry["name"]: _with_api_keys(entry, configured.control.api_key_variables, environment)
        for entry in document.models
    }
    values["models"] = [
        given.pop(model["name"], model) for model in values["models"] if model["name"] not in document.removed_models
    ] + list(given.values())
    if document.bundle is not None:
        if configured.router.policy != "learned":
            raise ConfigError(f"bundle: router.policy is {configured.router.policy}, which reads no bundle")
        values["router"]["bundle"] = document.bundle.path
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(first_fault(error)) from None


def _with_api_keys(
    entry: Mapping[str, Any], may_be_sent: Collection[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The entry with the keys of its servers from the environment."""
    replicas = []
    for replica in entry["replicas"]:
        match = _VARIABLE.fullmatch(replica.get("api_key") or "")
        if match is None:
            replicas.append(replica)
        elif match[1] not in may_be_sent:
            raise ConfigError(f"model {entry['name']!r}: control.api_key_variables does not list {match[1]}")
        elif match[1] in environment:
            replicas.append({**replica, "api_key": environment[match[1]]})
        else:
            raise ConfigError(f"model {entry['name']!r}: environment variable {match[1]} is not set")
    return {**entry, "replicas": replicas}
