"""Metrics: closed label sets, sums over workers, names that promtool accepts and docs/operations.md lists. F41, F52."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from gateway.observability.metrics import Metrics
from gateway.routing.base import Reason

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series of the exposition, with its value; creation times left out."""
    text = metrics.render()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def everything(metrics: Metrics, text: str, number: int) -> None:
    """Touch every metric with one text wherever a text goes and one number wherever a number goes."""
    metrics.request_finished(text, text, number, text, 0.1)
    metrics.decided(text, text)
    metrics.overhead(text, 0.001)
    metrics.first_token(text, 0.1)
    metrics.tokens(text, text, number)
    metrics.upstream_health(text, 0, True)
    metrics.upstream_lists_model(text, 0, True)
    metrics.dependency_up(text, True)
    metrics.control_refused(False)
    metrics.serve(1, ["alpha"])
    metrics.bundle("abcdef0123456789", "learned")


def test_a_request_is_counted_and_timed() -> None:
    metrics = Metrics(["alpha"])
    metrics.request_finished("/v1/chat/completions", "alpha", 200, "ok", 0.2)
    metrics.request_finished("/v1/chat/completions", "alpha", 200, "ok", 0.3)
    metrics.request_finished("/v1/chat/completions", None, 401, "client_error", 0.001)
    labels = {"endpoint": "/v1/chat/completions", "model": "alpha"}
    assert value(metrics, "gateway_requests_total", **labels, status="200", outcome="ok") == 2
    unanswered = labels | {"model": "other", "status": "401", "outcome": "client_error"}
    assert value(metrics, "gateway_requests_total", **unanswered) == 1
    assert value(metrics, "gateway_request_duration_seconds_sum", **labels) == pytest.approx(0.5)


def test_every_other_method_sets_its_own_series() -> None:
    metrics = Metrics(["alpha"])
    metrics.decided("alpha", "routed")
    metrics.overhead("encode", 0.00007)
    metrics.first_token("alpha", 0.3)
    metrics.tokens("alpha", "output", 7)
    metrics.upstream_health("alpha", 1, False)
    metrics.dependency_up("redis", True)
    metrics.decisions_lost("disk_full", 3)
    assert value(metrics, "gateway_decisions_total", model="alpha", reason="routed") == 1
    assert value(metrics, "gateway_overhead_seconds_bucket", stage="encode", le="0.0001") == 1
    assert value(metrics, "gateway_overhead_seconds_bucket", stage="encode", le="5e-05") == 0
    assert value(metrics, "gateway_time_to_first_token_seconds_count", model="alpha") == 1
    assert value(metrics, "gateway_tokens_total", model="alpha", direction="output") == 7
    assert value(metrics, "gateway_upstream_up", model="alpha", replica="1") == 0
    assert value(metrics, "gateway_dependency_up", dependency="redis") == 1
    assert value(metrics, "gateway_decisions_lost_total", reason="disk_full") == 3
    assert value(metrics, "gateway_decisions_lost_total", reason="queue_full") == 0


def test_every_reason_of_a_decision_has_its_series() -> None:
    metrics = Metrics(["alpha"])
    for reason in get_args(Reason):
        metrics.decided("alpha", reason)
        assert value(metrics, "gateway_decisions_total", model="alpha", reason=reason) == 1


def test_a_swapped_bundle_leaves_the_old_one_at_zero() -> None:
    metrics = Metrics(["alpha"])
    metrics.bundle("a" * 64, "learned")
    metrics.bundle("b" * 64, "learned")
    assert value(metrics, "gateway_bundle_info", digest="a" * 12, policy="learned") == 0
    assert value(metrics, "gateway_bundle_info", digest="b" * 12, policy="learned") == 1
    metrics.bundle(None, "fixed")
    assert value(metrics, "gateway_bundle_info", digest="none", policy="fixed") == 1


def test_an_upstreams_nonsense_token_count_adds_nothing() -> None:
    metrics = Metrics(["alpha"])
    metrics.tokens("alpha", "input", 5)
    metrics.tokens("alpha", "input", -3)
    assert value(metrics, "gateway_tokens_total", model="alpha", direction="input") == 5


def test_ten_thousand_random_names_make_no_series() -> None:
    metrics = Metrics(["alpha", "beta"])
    everything(metrics, "something else", 999)
    before = set(samples(metrics))
    for number in range(10_000):
        everything(metrics, f"gpt-{number}", 1000 + number)
    assert set(samples(metrics)) == before


@given(st.text(), st.integers(-(10**9), 10**9))
def test_no_text_of_a_client_is_shown(text: str, number: int) -> None:
    metrics = Metrics(["alpha"])
    everything(metrics, f"canary{text}", number)
    assert "canary" not in metrics.render()[0].decode()


def test_two_instances_are_apart_and_the_librarys_registry_stays_empty_of_ours() -> None:
    first, second = Metrics(["alpha"]), Metrics(["alpha"])
    first.decided("alpha", "routed")
    assert value(second, "gateway_decisions_total", model="alpha", reason="routed") is None
    assert not any(family.name.startswith("gateway_") for family in REGISTRY.collect())


WORKER = """
import sys
from gateway.observability.metrics import Metrics
metrics = Metrics(["alpha"])
for _ in range(int(sys.argv[1])):
    metrics.decided("alpha", "routed")
metrics.upstream_health("alpha", 0, sys.argv[2] == "up")
metrics.bundle("abcdef0123456789", "learned")
print(metrics.render()[0].decode())
"""


def test_workers_are_summed_and_a_dead_ones_counts_stay(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for count, health in (("3", "up"), ("4", "down"), ("0", "up")):
        arguments = [sys.executable, "-c", WORKER, count, health]
        shown = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert 'gateway_decisions_total{model="alpha",reason="routed"} 7.0' in shown
    # The worker that saw it down is dead, and what it saw with it.
    assert 'gateway_upstream_up{model="alpha",replica="0"} 1.0' in shown
    assert 'gateway_bundle_info{digest="abcdef012345",policy="learned"} 1.0' in shown


COUNTING_WORKER = """
import asyncio
from gateway.observability import metrics as module
module.HAND_OVER_S = 0.01
async def count():
    metrics = module.Metrics(["alpha"])
    metrics.start()
    metrics.decided("alpha", "routed")
    await asyncio.sleep(0.2)
    metrics.decided("alpha", "pinned")
    metrics.aclose()
asyncio.run(count())
"""


def test_a_worker_shows_its_counts_without_being_asked_and_the_last_ones_at_its_end(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", COUNTING_WORKER], env=environment, check=True)
    arguments = [sys.executable, "-c", WORKER, "0", "up"]
    shown = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert 'gateway_decisions_total{model="alpha",reason="routed"} 1.0' in shown
    assert 'gateway_decisions_total{model="alpha",reason="pinned"} 1.0' in shown


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    metrics = Metrics(["alpha"])
    everything(metrics, "alpha", 200)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render()[0], capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_operations_page_lists_exactly_these_metrics() -> None:
    metrics = Metrics(["alpha"])
    everything(metrics, "alpha", 200)
    shown = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, labels, family.documentation)
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        if not family.name.endswith("_created")
        for labels in [frozenset(family.samples[0].labels) - {"le"}]
    }
    rows = re.findall(r"^\| `(gateway_\w+)` \| (\w+) \| ([\w, ]*) \| (.*) \|$", OPERATIONS.read_text(), re.MULTILINE)
    assert {
        (name, kind, frozenset(filter(None, labels.split(", "))), meaning) for name, kind, labels, meaning in rows
    } == shown
