"""The command line: `gateway serve | validate | keys | config-docs`.

Exit status 0 when all went well, 2 with one line on standard error when the configuration, the bundle or the machine
does not allow it. A server that is told to stop (SIGTERM, Ctrl-C) finishes what runs and exits 0.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from gateway.access import cli as keys_cli
from gateway.app import STOP_SIGNALS, build_app, build_worker
from gateway.config_docs import config_page
from gateway.errors import ConfigError, GatewayError
from gateway.http.drain import LAST_WORDS_S
from gateway.observability.logs import configure
from gateway.routing.mapping import check_mapping
from gateway.settings import Settings
from gateway.settings_file import load_settings, redacted
from router_core.errors import RouterCoreError

# Longer than clients keep an idle connection (official ones: 5 s), so that it is never this side that closes in a race.
KEEP_ALIVE_S = 65
BACKLOG = 2048


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
    serve.set_defaults(run=_serve)
    validate = commands.add_parser("validate", help="check a configuration and print what it means")
    validate.add_argument("--config", type=Path, required=True, help="the configuration file")
    validate.set_defaults(run=_validate)
    keys = commands.add_parser("keys", help="create, list and revoke API keys")
    keys_cli.add_arguments(keys)
    keys.set_defaults(run=keys_cli.run)
    docs = commands.add_parser("config-docs", help="print docs/config.md")
    docs.set_defaults(run=_config_docs)
    return parser


def _validate(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    mapping = check_mapping(settings)
    print(redacted(settings), end="")
    for line in mapping:
        print(f"# {line}")
    return 0


def _config_docs(_: argparse.Namespace) -> int:
    print(config_page(), end="")
    return 0


def _serve(options: argparse.Namespace) -> int:
    settings = _with_address(load_settings(options.config), options.host, options.port)
    check_mapping(settings)
    configure(settings.log.level, sys.stderr)
    # What uvicorn says of its own comings and goings, the gateway says itself.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    listener = _listener(settings)
    url = _url(settings, listener)
    with listener:
        if settings.server.workers > 1:
            return _serve_with_workers(settings, options.config, listener, url)
        return _serve_alone(settings, listener, url)


def _serve_alone(settings: Settings, listener: socket.socket, url: str) -> int:
    app = build_app(settings, drains_on_signal=True)
    # uvicorn raises the signal that stopped it once more when it is done; by then there is nothing left to stop.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    try:
        _AnnouncingServer(_uvicorn_config(app), url).run(sockets=[listener])
    except SystemExit:
        raise ConfigError(str(app.start_error or "the server could not start")) from None
    return 0


def _serve_with_workers(settings: Settings, config: Path, listener: socket.socket, url: str) -> int:
    workers = settings.server.workers
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as metrics_folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
        app = partial(build_worker, config)
        supervisor = Multiprocess(_uvicorn_config(app, workers=workers), sockets=[listener])
        print(f"gateway: {workers} workers serving on {url}", flush=True)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise ConfigError("a worker could not start; its log line says why")
    return 0


class _AnnouncingServer(uvicorn.Server):
    """Says where it serves once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        print(f"gateway: serving on {self._url}", flush=True)


def _uvicorn_config(app: Callable[..., Any], *, workers: int = 1) -> uvicorn.Config:
    """`app` is the app itself, or with several workers what makes it."""
    return uvicorn.Config(
        app,
        factory=workers > 1,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        # Streams have had their last words by then (gateway/http/drain.py); this is for what does not listen.
        timeout_graceful_shutdown=int(LAST_WORDS_S) + 1,
    )


def _with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with another address, checked anew: an exposed address asks for keys."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not given:
        return settings
    document = settings.model_dump()
    document["server"] |= given
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(fault["msg"].removeprefix("Value error, ")) from None


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
    listener.set_inheritable(True)
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    return f"http://{host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
