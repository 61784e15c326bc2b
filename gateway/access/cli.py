"""`gateway keys create | list | revoke`: keys are made, listed and revoked where the gateway reads them.

The key itself goes to standard output once, alone on its line, so that a script can take it; every other word goes to
standard error. Exit status 0, or 2 with one line that says what is wrong.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gateway.access.keys import KeyRecord, new_key
from gateway.access.store import KeyStore, build_key_store
from gateway.errors import ConfigError, GatewayError, StateUnavailableError
from gateway.settings import Settings
from gateway.settings_file import load_settings
from gateway.state.build import build_state

# A person waits here, not a request: `state.timeout_s` would be too strict for a distant Redis.
STATE_TIMEOUT_S: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `gateway keys` its three commands."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a key and print it once")
    create.add_argument("--name", required=True, help="whose key it is")
    create.add_argument("--models", help="comma-separated names it may use; every model if left out")
    create.add_argument("--requests-per-minute", type=int, help="its own limit; access.requests_per_minute if left out")
    listing = commands.add_parser("list", help="list the keys, without secrets")
    revoke = commands.add_parser("revoke", help="revoke a key")
    revoke.add_argument("id", help="the key's id, as `gateway keys list` shows it")
    for command in (create, listing, revoke):
        command.add_argument("--config", type=Path, required=True, help="the gateway's configuration file")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments ask; the exit status."""
    try:
        settings = load_settings(args.config)
        asyncio.run(_with_store(settings, _command(args, settings)))
    except GatewayError as error:
        print(f"gateway keys: {error.message}", file=sys.stderr)
        return 2
    return 0


Command = Callable[[KeyStore], Awaitable[None]]


def _command(args: argparse.Namespace, settings: Settings) -> Command:
    if args.keys_command == "create":
        models = _known_models(args.models, settings)
        return lambda store: _create(store, args.name, models, args.requests_per_minute)
    if args.keys_command == "revoke":
        return lambda store: _revoke(store, args.id)
    return _list


async def _with_store(settings: Settings, command: Command) -> None:
    patient = settings.state.model_copy(update={"timeout_s": STATE_TIMEOUT_S})
    state = build_state(settings.model_copy(update={"state": patient}))
    try:
        store = build_key_store(settings, state)
        try:
            await command(store)
        except StateUnavailableError as error:
            raise ConfigError(f"{store.place} does not answer: {error.__cause__}") from error
    finally:
        await state.aclose()


async def _create(store: KeyStore, name: str, models: tuple[str, ...] | None, requests_per_minute: int | None) -> None:
    try:
        key = new_key(name, models, requests_per_minute)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        option = "--" + str(fault["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option}: {fault['msg']}") from None
    await store.save(key.record)
    print(key.text)
    print(
        f"Key {key.record.id} of {name} is stored, as a hash, in {store.place}. It is not shown again.", file=sys.stderr
    )


async def _list(store: KeyStore) -> None:
    rows = [("ID", "NAME", "MODELS", "PER MINUTE", "CREATED", "REVOKED")]
    records = sorted((await store.load()).values(), key=lambda record: record.created)
    rows += [_row(record) for record in records]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(record: KeyRecord) -> tuple[str, str, str, str, str, str]:
    models = "every" if record.allowed_models is None else ",".join(record.allowed_models)
    limit = "default" if record.requests_per_minute is None else str(record.requests_per_minute)
    revoked = "-" if record.revoked is None else record.revoked.isoformat()
    return record.id, record.name, models, limit, record.created.isoformat(), revoked


async def _revoke(store: KeyStore, key_id: str) -> None:
    record = (await store.load()).get(key_id)
    if record is None:
        raise ConfigError(f"no key has the id {key_id!r} in {store.place}; see `gateway keys list`")
    if record.revoked is None:
        now = datetime.now(UTC).replace(microsecond=0)
        await store.save(record.model_copy(update={"revoked": now}))
    print(f"Key {record.id} of {record.name} is revoked.", file=sys.stderr)


def _known_models(names: str | None, settings: Settings) -> tuple[str, ...] | None:
    if names is None:
        return None
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    known = [model.name for model in settings.models]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ConfigError(f"--models: {', '.join(unknown) or 'no name'} is not served; choose from {', '.join(known)}")
    return wanted
