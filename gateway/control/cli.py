"""`gateway keys | models | bundle`: what can change is changed where the gateway reads it, with or without a gateway.

The control document is written directly, in its file or in Redis, after the same checks that the admin API makes; every
worker follows. A new key itself goes to standard output once, alone on its line, so that a script can take it; every
other word of `keys` goes to standard error. Exit status 0, or 2 with one line that says what is wrong.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from gateway.access.keys import KeyRecord, new_key
from gateway.control.changes import Control
from gateway.control.document import effective
from gateway.control.store import build_control_state, build_control_store
from gateway.errors import ConfigError, StateUnavailableError
from gateway.settings import Settings
from gateway.settings_file import load_settings

# A person waits here, not a request: `state.timeout_s` would be too strict for a distant Redis.
STATE_TIMEOUT_S: Final = 5.0
# A start waits for less, since it goes on without an answer.
START_TIMEOUT_S: Final = 1.0
Command = Callable[[Control], Awaitable[None]]


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Give `gateway keys` its three commands."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a key and print it once")
    create.add_argument("--name", required=True, help="whose key it is")
    create.add_argument("--models", help="comma-separated names it may use; every model if left out")
    create.add_argument("--requests-per-minute", type=int, help="its own limit; access.requests_per_minute if left out")
    create.add_argument(
        "--scope", choices=["inference", "admin"], default="inference", help="ask models, or administrate over HTTP"
    )
    _set(create, lambda options: lambda control: _create_key(control, options))
    _set(commands.add_parser("list", help="list the keys, without secrets"), lambda _: _list_keys)
    revoke = commands.add_parser("revoke", help="revoke a key")
    revoke.add_argument("id", help="the key's id, as `gateway keys list` shows it")
    _set(revoke, lambda options: lambda control: _revoke_key(control, options.id))


def add_models(parser: argparse.ArgumentParser) -> None:
    """Give `gateway models` its three commands."""
    commands = parser.add_subparsers(dest="models_command", required=True, metavar="list|add|remove")
    _set(commands.add_parser("list", help="list the models that are served"), lambda _: _list_models)
    add = commands.add_parser("add", help="serve a model, or serve it differently")
    add.add_argument("entry", type=Path, help="YAML file with one entry of the configuration's `models`")
    _set(add, lambda options: lambda control: _add_model(control, options.entry))
    remove = commands.add_parser("remove", help="serve a model no more; requests that run finish")
    remove.add_argument("name", help="the model's public name")
    _set(remove, lambda options: lambda control: _remove_model(control, options.name))


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Give `gateway bundle` its one command."""
    commands = parser.add_subparsers(dest="bundle_command", required=True, metavar="set")
    set_bundle = commands.add_parser("set", help="route by another bundle from now on")
    set_bundle.add_argument("path", type=Path, help="the bundle's folder, at the same place on every host")
    _set(set_bundle, lambda options: lambda control: _set_bundle(control, options.path))


def _set(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], Command]) -> None:
    parser.add_argument("--config", type=Path, required=True, help="the gateway's configuration file")

    def run(options: argparse.Namespace) -> int:
        settings = load_settings(options.config)
        try:
            asyncio.run(_with_control(settings, command(options), STATE_TIMEOUT_S))
        except StateUnavailableError as error:
            raise ConfigError(f"state.redis_url: Redis does not answer: {error.__cause__}") from error
        return 0

    parser.set_defaults(run=run)


def in_effect(settings: Settings) -> tuple[Settings, int | None]:
    """The configuration with the control document over it, and the document's version.

    The configuration as it stands and None if the document's store does not answer. Raises ConfigError.
    """
    found: list[tuple[Settings, int]] = []

    async def look(control: Control) -> None:
        document = await control.store.load()
        found.append((effective(control.configured, document), document.version))

    try:
        asyncio.run(_with_control(settings, look, START_TIMEOUT_S))
    except StateUnavailableError:
        return settings, None
    return found[0]


async def _with_control(settings: Settings, command: Command, timeout_s: float) -> None:
    state = build_control_state(settings, timeout_s)
    try:
        control = Control(settings, build_control_store(settings, state))
        await command(control)
    finally:
        await state.aclose()


async def _create_key(control: Control, options: argparse.Namespace) -> None:
    models = await _known_models(control, options.models)
    try:
        key = new_key(options.name, models, options.requests_per_minute, options.scope)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        option = "--" + str(fault["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option}: {fault['msg']}") from None
    await control.add_key(key.record)
    print(key.text)
    _say(
        f"Key {key.record.id} of {options.name} is stored, as a hash, in {control.store.place}. It is not shown again."
    )


async def _list_keys(control: Control) -> None:
    records = sorted((await control.store.load()).keys, key=lambda record: record.created)
    _print_table(
        ("ID", "NAME", "SCOPE", "MODELS", "PER MINUTE", "CREATED", "REVOKED"), [_key_row(record) for record in records]
    )


def _key_row(record: KeyRecord) -> tuple[str, ...]:
    models = "every" if record.allowed_models is None else ",".join(record.allowed_models)
    limit = "default" if record.requests_per_minute is None else str(record.requests_per_minute)
    revoked = "-" if record.revoked is None else record.revoked.isoformat()
    return record.id, record.name, record.scope, models, limit, record.created.isoformat(), revoked


async def _revoke_key(control: Control, key_id: str) -> None:
    document = await control.revoke_key(key_id)
    record = next(record for record in document.keys if record.id == key_id)
    _say(f"Key {record.id} of {record.name} is revoked.")


async def _list_models(control: Control) -> None:
    document = await control.store.load()
    changed = {entry["name"] for entry in document.models}
    configured = {model.name for model in control.configured.models}
    rows = []
    for model in effective(control.configured, document).models:
        origin = "configuration" if model.name not in changed else "changed" if model.name in configured else "added"
        rows.append((model.name, origin, " ".join(replica.base_url for replica in model.replicas)))
    _print_table(("NAME", "ORIGIN", "REPLICAS"), rows)


async def _add_model(control: Control, path: Path) -> None:
    entry = await asyncio.to_thread(_read_entry, path)
    document = await control.set_model(entry)
    _say(f"Model {entry['name']} is served from version {document.version} on.")


async def _remove_model(control: Control, name: str) -> None:
    document = await control.remove_model(name)
    _say(f"Model {name} is not served from version {document.version} on.")


async def _set_bundle(control: Control, path: Path) -> None:
    document = await control.set_bundle(path)
    _say(f"The bundle in {path} routes from version {document.version} on.")


def _read_entry(path: Path) -> dict[str, Any]:
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: not valid YAML") from None
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: must be one entry of `models`: a mapping with name and replicas")
    return entry


async def _known_models(control: Control, names: str | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    known = [model.name for model in effective(control.configured, await control.store.load()).models]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ConfigError(f"--models: {', '.join(unknown) or 'no name'} is not served; choose from {', '.join(known)}")
    return wanted


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say(line: str) -> None:
    print(line, file=sys.stderr)
