"""Two worker processes behind one port, whose answers say which of them answers. Run as a program: prints its URL.

With FAILS=1 in the environment no worker can start; with NO_DESCRIPTORS=1 there are none left to start the second with.
"""

import os
import resource
import socket
import sys
from typing import Any

from gateway.app import run_server
from gateway.errors import ConfigError
from gateway.http.server import WorkerServer, server_config
from gateway.observability.logs import configure
from gateway.workers import Workers


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": f"lifespan.startup.{'failed' if 'FAILS' in os.environ else 'complete'}"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = str(os.getpid()).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


def serve(channel: socket.socket) -> None:
    run_server(WorkerServer(server_config(app, client_stall_timeout_s=60), channel))


class ShortOfDescriptors(Workers):
    """Has none left once the first worker is there."""

    def _start(self) -> None:
        super()._start()
        if "NO_DESCRIPTORS" in os.environ:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def main() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        configure("info", sys.stderr)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            ShortOfDescriptors(2, listener, serve).run(lambda: print(url, flush=True))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    # By its own name, so that a spawned process finds `serve` again.
    from tests.support.pid_workers import main as named_main

    sys.exit(named_main())
