"""TensorZero's gateway, which its Python wheel contains: Rust, without its databases."""

from benchmarks.gateways.base import MOCK_MODEL, Features, Gateway, Launch, Place
from benchmarks.gateways.installation import PythonPackages

CONFIGURATION = """
[gateway]
observability.enabled = false

[models.{model}]
routing = ["engine"]

[models.{model}.providers.engine]
type = "openai"
api_base = "{upstream}/v1/"
model_name = "{model}"
api_key_location = "none"
"""
# The wheel starts it by a function of its own only, on a port that it picks.
SERVE = """
import sys, time
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
with open(sys.argv[2] + ".part", "w") as file:
    file.write(gateway.base_url.split(":")[-1].split("/")[0])
import os
os.replace(sys.argv[2] + ".part", sys.argv[2])
while True:
    time.sleep(3600)
"""


def launch(place: Place) -> Launch:
    """Its OpenAI-compatible endpoint."""
    configuration, port_file = place.scratch / "tensorzero.toml", place.scratch / "port"
    configuration.write_text(CONFIGURATION.format(model=MOCK_MODEL, upstream=place.upstream_url))
    port_file.unlink(missing_ok=True)
    return Launch(
        command=(place.python, "-c", SERVE, str(configuration), str(port_file)),
        environment={"RUST_LOG": "error", "TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1"},
        model=f"tensorzero::model_name::{MOCK_MODEL}",
        path="/openai/v1/chat/completions",
        port_file=port_file,
    )


GATEWAYS = (
    Gateway(
        name="tensorzero",
        installation=PythonPackages(("tensorzero",)),
        launch=launch,
        features=Features(routing="models by name"),
        note="Rust, its own private start function, observability off",
    ),
)
