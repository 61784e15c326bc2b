"""RouteLLM's server with its `random` router: the others ask a hub or OpenAI for weights, and cost more."""

from benchmarks.gateways.base import MOCK_MODEL, Features, Gateway, Launch, Place
from benchmarks.gateways.installation import PythonPackages

# Its own main binds every address and logs each request.
SERVE = """
import sys
import uvicorn
port, base_url, model = sys.argv[1:]
sys.argv[1:] = ["--routers", "random", "--base-url", base_url, "--api-key", "none",
                "--strong-model", model, "--weak-model", model]
from routellm.openai_server import app
uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="error")
"""


def launch(place: Place) -> Launch:
    """One worker; it asks for an OpenAI key at import, and any will do."""
    command = (place.python, "-c", SERVE, str(place.port), f"{place.upstream_url}/v1", f"openai/{MOCK_MODEL}")
    return Launch(
        command=command,
        environment={
            "OPENAI_API_KEY": "none",
            "HF_HUB_OFFLINE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        },
        model="router-random-0.5",
    )


GATEWAYS = (
    Gateway(
        name="routellm",
        # The CPU build by its full version: an index may offer gigabytes of CUDA under the short one.
        installation=PythonPackages(("routellm[serve]", "uvicorn[standard]", "torch==2.13.0+cpu")),
        launch=launch,
        features=Features(routing="random between two models", retries="of LiteLLM, through which it forwards"),
        note="router `random`, access log off",
    ),
)
