"""FastAPI with httpx and with aiohttp: what a gateway costs before it has a single feature."""

from functools import partial
from pathlib import Path

from benchmarks.gateways.base import Features, Gateway, Launch, Place
from benchmarks.gateways.installation import PythonPackages


def launch(place: Place, client: str) -> Launch:
    """One uvicorn worker on uvloop and httptools, access log off."""
    server = ("-m", "uvicorn", "benchmarks_fastapi_app:app", "--host", "127.0.0.1", "--port", str(place.port))
    # Alone in a folder, so that the relay finds nothing of this project on its path.
    app = place.scratch / "benchmarks_fastapi_app.py"
    app.write_bytes(Path(__file__).with_name("fastapi_app.py").read_bytes())
    return Launch(
        command=(place.python, *server, "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
        environment={"UPSTREAM": place.upstream_url, "CLIENT": client, "PYTHONPATH": str(place.scratch)},
    )


def relay(client: str) -> Gateway:
    """The relay with one of the two client libraries."""
    return Gateway(
        name=f"fastapi-{client}",
        installation=PythonPackages(("fastapi", "uvicorn[standard]", client)),
        launch=partial(launch, client=client),
        features=Features(),
        note=f"a bare relay of one route, with {client}",
        group="quick",
    )


GATEWAYS = (relay("httpx"), relay("aiohttp"))
