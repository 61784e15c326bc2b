"""The LiteLLM proxy in its lightest form: no keys, no database, no callbacks, one worker."""

import json

from benchmarks.gateways.base import MOCK_MODEL, Features, Gateway, Launch, Place
from benchmarks.gateways.installation import PythonPackages


def launch(place: Place) -> Launch:
    """Its own command; it refuses to start without a master key unless told that a weak one is meant."""
    upstream = {"model": f"openai/{MOCK_MODEL}", "api_base": f"{place.upstream_url}/v1", "api_key": "none"}
    document = {
        "model_list": [{"model_name": MOCK_MODEL, "litellm_params": upstream}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    configuration = place.scratch / "litellm.yaml"
    configuration.write_text(json.dumps(document))
    command = (str(place.installed / "bin" / "litellm"), "--config", str(configuration), "--host", "127.0.0.1")
    return Launch(
        command=(*command, "--port", str(place.port), "--num_workers", "1", "--telemetry", "False"),
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "NO_DOCS": "True",
            "DISABLE_ADMIN_UI": "True",
        },
    )


GATEWAYS = (
    Gateway(
        name="litellm",
        installation=PythonPackages(("litellm[proxy]",)),
        launch=launch,
        features=Features(routing="models by name", retries="on", metrics="-"),
        note="without keys and database, its cost map local",
    ),
)
