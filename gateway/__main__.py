"""The command line: `gateway serve | validate | keys | models | bundle | config-docs`.

Exit status 0 when all went well, 2 with one line on standard error when the configuration, the bundle or the machine
does not allow it. A server that is told to stop (SIGTERM, Ctrl-C) finishes what runs and exits 0.
"""

import argparse
import logging
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.app import build_app, run_server, serve_worker
from gateway.config_docs import config_page
from gateway.control import cli as control_cli
from gateway.errors import ConfigError, GatewayError
from gateway.http.server import AnnouncingServer, server_config
from gateway.observability.logs import configure
from gateway.routing.encoder_supervisor import encoder_process
from gateway.routing.mapping import check_mapping
from gateway.settings import Settings
from gateway.settings_file import first_fault, load_settings, redacted
from gateway.workers import Workers
from router_core.errors import RouterCoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (GatewayError, RouterCoreError) as error:
        print(f"gateway {options.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="One OpenAI-compatible endpoint in front of models.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve requests")
    serve.add_argument("--config", type=Path, required=True, help="the configuration file")
    serve.add_argument("--host", help="bind this address instead of server.host")
    serve.add_argument("--port", type=int, help="bind this port instead of server.port; 0 picks a free one")
    serve.add_argument("--workers", type=int, help="so many processes instead of server.workers")
    serve.set_defaults(run=_serve)
    validate = commands.add_parser("validate", help="check a configuration and print what it means")
    validate.add_argument("--config", type=Path, required=True, help="the configuration file")
    validate.set_defaults(run=_validate)
    control_cli.add_keys(commands.add_parser("keys", help="create, list and revoke API keys"))
    control_cli.add_models(commands.add_parser("models", help="list, add and remove models"))
    control_cli.add_bundle(commands.add_parser("bundle", help="set the router bundle"))
    docs = commands.add_parser("config-docs", help="print docs/config.md")
    docs.set_defaults(run=_config_docs)
    return parser


def _validate(options: argparse.Namespace) -> int:
    settings, version = control_cli.in_effect(load_settings(options.config))
    mapping = check_mapping(settings)
    print(redacted(settings), end="")
    if version is None:
        print("# the control document cannot be read now: Redis does not answer")
    elif version > 0:
        print(f"# with version {version} of the control document over it")
    for line in mapping:
        print(f"# {line}")
    return 0


def _config_docs(_: argparse.Namespace) -> int:
    print(config_page(), end="")
    return 0


def _serve(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("host", "port", "workers") if getattr(options, name) is not None}
    settings = _with_server(load_settings(options.config), given)
    check_mapping(control_cli.in_effect(settings)[0])
    configure(settings.log.level, sys.stderr)
    _raise_descriptor_limit()
    # What uvicorn says of its own comings and goings, the gateway says itself.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    with _listener(settings) as listener, encoder_process(settings) as encoder_socket:
        if settings.server.workers > 1:
            return _serve_with_workers(settings, listener, encoder_socket)
        return _serve_alone(settings, listener, encoder_socket)


def _raise_descriptor_limit() -> None:
    """Every connection is a descriptor, on either side; the usual soft limit of 1,024 is for programs that `select`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve_alone(settings: Settings, listener: socket.socket, encoder_socket: Path | None) -> int:
    app = build_app(settings, encoder_socket=encoder_socket, drains_on_signal=True)
    try:
        run_server(
            AnnouncingServer(server_config(app, settings.server.client_stall_timeout_s), _url(settings, listener)),
            [listener],
        )
    except SystemExit:
        raise ConfigError(str(app.start_error or "the server could not start")) from None
    return 0


def _serve_with_workers(settings: Settings, listener: socket.socket, encoder_socket: Path | None) -> int:
    count, url = settings.server.workers, _url(settings, listener)
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as metrics_folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
        workers = Workers(count, listener, partial(serve_worker, settings, encoder_socket))
        workers.run(lambda: print(f"gateway: {count} workers serving on {url}", flush=True))
    return 0


def _with_server(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with other options of `server`, checked anew: an exposed address, say, asks for keys."""
    if not given:
        return settings
    document = settings.model_dump()
    document["server"] |= given
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(first_fault(error)) from None


def _listener(settings: Settings) -> socket.socket:
    server = settings.server
    listener = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        # Bound now, to fail with a clear line; the server listens once it is ready.
        listener.bind((server.host, server.port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {server.host} port {server.port}: {error.strerror or error}") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Accepted connections inherit it: the kernel then drops a client that takes nothing, with what waits for it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(server.client_stall_timeout_s * 1000))
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    return f"http://{host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
