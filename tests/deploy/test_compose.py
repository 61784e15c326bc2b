"""docker-compose.yml as Compose reads it: what it publishes, what a container may do, that the parts fit together."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import LOOPBACK_HOSTS
from gateway.settings_file import load_settings

ROOT = Path(__file__).resolve().parents[2]
GATEWAY_CONFIG = ROOT / "deploy" / "compose" / "gateway.yaml"
PUBLISHED = {"gateway", "prometheus"}


@cache
def compose() -> dict[str, Any]:
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
        reason = "no docker-compose here; make setup installs it on Debian and Ubuntu"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    written = subprocess.run(
        [*command, "--profile", "pool", "-f", str(ROOT / "docker-compose.yml"), "config"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
    )
    assert written.returncode == 0, written.stderr
    # Through JSON, so that each value is a plain one.
    return json.loads(json.dumps(yaml.safe_load(written.stdout)))  # type: ignore[no-any-return]


def engines() -> dict[str, dict[str, Any]]:
    services = compose()["services"]
    return {name: service for name, service in services.items() if service.get("entrypoint") == ["vllm", "serve"]}


def test_only_the_gateway_and_prometheus_publish_a_port_and_only_on_loopback() -> None:
    services = compose()["services"]
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(published) == PUBLISHED
    for ports in published.values():
        for port in ports:
            address = port.split(":")[0] if isinstance(port, str) else port["host_ip"]
            assert address in LOOPBACK_HOSTS


def test_every_container_is_confined() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "privileged" not in service, name


def test_what_faces_clients_does_not_run_as_root() -> None:
    services = compose()["services"]
    assert {name: services[name]["user"] for name in ("gateway", "redis", "prometheus")} == {
        "gateway": "10001:10001",
        "redis": "redis",
        "prometheus": "nobody",
    }


def test_redis_is_reachable_by_the_gateway_alone() -> None:
    document = compose()
    assert document["networks"]["state"]["internal"] is True
    on_state = {name for name, service in document["services"].items() if "state" in service["networks"]}
    assert on_state == {"gateway", "redis"}
    assert set(document["services"]["redis"]["networks"]) == {"state"}


def test_each_configured_model_is_an_engine_of_that_name_on_a_gpu() -> None:
    configured = {model.replicas[0].base_url: model.name for model in load_settings(GATEWAY_CONFIG).models}
    started = {f"http://{name}:8000/v1": service["command"][0] for name, service in engines().items()}
    assert configured == started
    for name, service in engines().items():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"], name


def test_the_gateway_asks_the_router_for_its_models_by_their_hub_names() -> None:
    models = load_settings(GATEWAY_CONFIG).models
    assert [model.router_name for model in models] == [model.name for model in models]


def test_each_engine_can_be_started_by_a_profile_of_its_own_or_with_the_whole_pool() -> None:
    for name, service in engines().items():
        assert service["profiles"] == ["pool", name]


def test_every_mounted_template_and_config_exists() -> None:
    for service in engines().values():
        for argument in service["command"]:
            if str(argument).startswith("--chat-template="):
                template = str(argument).removeprefix("--chat-template=/templates/")
                assert (ROOT / "deploy" / "compose" / "templates" / template).is_file()


def test_prometheus_scrapes_the_gateway_and_every_engine() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    groups = [group for job in document["scrape_configs"] for group in job["static_configs"]]
    targets = {target for group in groups for target in group["targets"]}
    assert targets == {f"{name}:8000" for name in [*engines(), "gateway"]}


def test_the_grace_period_of_the_container_is_longer_than_the_gateways() -> None:
    grace = compose()["services"]["gateway"]["stop_grace_period"]
    assert grace == "40s"
    assert load_settings(GATEWAY_CONFIG).server.shutdown_grace_s < 40
