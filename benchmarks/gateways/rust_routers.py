"""The routers of vLLM and SGLang: Rust, from the wheels of their projects."""

from functools import partial

from benchmarks.gateways.base import Features, Gateway, Launch, Place
from benchmarks.gateways.installation import PythonPackages

# Round robin costs least of their policies; one replica leaves nothing to choose anyway.
OPTIONS = ("--host", "127.0.0.1", "--policy", "round_robin", "--log-level", "error")


def launch(place: Place, module: str) -> Launch:
    """As their documentation starts them in front of one server."""
    # Their default port of metrics is fixed, so that two on one machine would clash.
    metrics = ("--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.port + 1))
    command = (place.python, "-m", module, *OPTIONS, "--port", str(place.port), "--worker-urls", place.upstream_url)
    return Launch(command=(*command, *metrics))


def router(name: str, module: str) -> Gateway:
    """One of the two."""
    return Gateway(
        name=name,
        installation=PythonPackages((name,)),
        launch=partial(launch, module=module),
        features=Features(
            routing="replicas of one model",
            retries="on, circuit breaker",
            health="on",
            metrics="on",
        ),
        note="Rust, policy round_robin",
        group="quick",
    )


GATEWAYS = (router("vllm-router", "vllm_router.launch_router"), router("sglang-router", "sglang_router.launch_router"))
