"""Serves an ASGI app on a real port, by the server that serves in production, from a thread of the test's process."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from gateway.http.server import server_config


@contextlib.contextmanager
def serving(app: Any, client_stall_timeout_s: float = 60) -> Iterator[str]:
    """The root URL while the app serves; its lifespan has begun, and has ended after the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(app, client_stall_timeout_s))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the app did not start; its log line says why"
            assert time.monotonic() < deadline, "the app did not start within 30 s"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
