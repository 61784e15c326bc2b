"""Two worker processes behind one port, whose answers say which of them answers. Run as a program: prints its URL.

With FAILS=1 in the environment no worker can start.
"""

import os
import socket
import sys
from typing import Any

from gateway.app import run_server
from gateway.errors import ConfigError
from gateway.http.server import WorkerServer, server_config
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
    run_server(WorkerServer(server_config(app), channel))


def main() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            Workers(2, listener, serve).run(lambda: print(url, flush=True))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    # By its own name, so that a spawned process finds `serve` again.
    from tests.support.pid_workers import main as named_main

    sys.exit(named_main())
