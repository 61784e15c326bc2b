"""The command line, as processes: what is printed, with which status, and how a server stops."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.config_docs import config_page
from router_core.bundle import RouterBundle
from tests.support.encoder_host import encoder_pids
from tests.support.eventually import eventually
from tests.support.gateway_client import CHAT, chat, metric, model_section
from tests.support.mock_vllm import MockVllm
from tests.support.settings import write_settings

ROOT = Path(__file__).parents[2]


def run_gateway(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


@pytest.fixture
def config(tmp_path: Path, mock_vllm: MockVllm) -> Path:
    return configured(tmp_path, mock_vllm)


def configured(tmp_path: Path, mock: MockVllm, **sections: Any) -> Path:
    models = [model_section("alpha", mock), model_section("beta", mock)]
    return write_settings(tmp_path / "gateway.yaml", models=models, **sections)


@contextlib.contextmanager
def serving_process(config: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway process and its URL, once it says that it serves."""
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serving on http://" in line
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_validate_prints_the_document_redacted_and_the_mapping(tmp_path: Path, mock_vllm: MockVllm) -> None:
    models = [model_section("alpha", mock_vllm)]
    models[0]["replicas"][0]["api_key"] = "sk-secret"
    path = write_settings(tmp_path / "gateway.yaml", models=models)  # type: ignore[arg-type]
    done = run_gateway("validate", "--config", path)
    assert done.returncode == 0
    assert "fixed_model: alpha" in done.stdout
    assert "# policy fixed" in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["validate", "serve"])
@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"router": {"policy": "learned", "bundle": "nowhere", "default_model": "alpha"}}, "router.bundle"),
        (
            {"router": {"policy": "fixed", "fixed_model": "gone", "default_model": "alpha"}},
            "router.fixed_model: 'gone'",
        ),
        ({"serverr": {}}, "serverr: unknown key"),
    ],
)
def test_what_cannot_work_is_one_line_and_status_2(
    tmp_path: Path, mock_vllm: MockVllm, command: str, sections: dict[str, Any], told: str
) -> None:
    done = run_gateway(command, "--config", configured(tmp_path, mock_vllm, **sections))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


def test_a_missing_file_and_a_taken_port_are_one_line(tmp_path: Path, config: Path, mock_vllm: MockVllm) -> None:
    missing = run_gateway("serve", "--config", tmp_path / "none.yaml")
    taken = run_gateway("serve", "--config", config, "--port", mock_vllm.port)
    exposed = run_gateway("serve", "--config", config, "--host", "0.0.0.0")  # noqa: S104 - what is refused
    for done, told in ((missing, "cannot be read"), (taken, "cannot listen"), (exposed, "require_keys")):
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr


def test_a_decision_log_that_cannot_be_written_is_one_line(tmp_path: Path, mock_vllm: MockVllm) -> None:
    (tmp_path / "log").touch()
    done = run_gateway("serve", "--port", "0", "--config", configured(tmp_path, mock_vllm, decisions={"path": "log"}))
    assert done.returncode == 2
    assert done.stderr.startswith(f"gateway serve: decisions.path: no file can be written in '{tmp_path / 'log'}': ")
    assert len(done.stderr.splitlines()) == 1


def test_the_configuration_page_is_up_to_date() -> None:
    """`make docs` writes it anew."""
    assert (ROOT / "docs/config.md").read_text(encoding="utf-8") == config_page()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_streams_finish(config: Path, number: signal.Signals) -> None:
    """Readiness goes first, new requests are refused, the running stream ends with its marker, the status is 0."""
    with serving_process(config) as (process, url), httpx.Client(base_url=url, timeout=30) as client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert "server" not in ready.headers
        mock = {"chunks": 50, "chunk_delay_s": 0.1}
        with client.stream("POST", CHAT, json=chat(stream=True, mock=mock)) as answer:
            parts = answer.iter_text()
            text = next(parts)
            process.send_signal(number)
            refused = wait_until_refused(url)
            # As from whoever signals a whole process group, of which the parent then signals its workers.
            process.send_signal(number)
            assert refused.json()["error"]["code"] == "shutting_down"
            assert httpx.get(f"{url}/readyz").status_code == 503
            text += "".join(parts)
        assert text.endswith("data: [DONE]\n\n")
        assert process.wait(timeout=30) == 0


def wait_until_refused(url: str) -> httpx.Response:
    deadline = time.monotonic() + 10
    while True:
        answer = httpx.post(url + CHAT, json=chat())
        if answer.status_code == 503:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_at_the_end_of_the_grace_a_stream_is_told(tmp_path: Path, mock_vllm: MockVllm) -> None:
    """Fact 9 of the reliability notes: a server on its own would cut the stream without a word."""
    config = configured(tmp_path, mock_vllm, server={"shutdown_grace_s": 0.3})
    with serving_process(config) as (process, url), httpx.Client(base_url=url, timeout=30) as client:
        mock = {"chunks": 2000, "chunk_delay_s": 0.05}
        with client.stream("POST", CHAT, json=chat(stream=True, mock=mock)) as answer:
            parts = answer.iter_text()
            text = next(parts)
            process.terminate()
            text += "".join(parts)
        last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
        assert last["error"]["code"] == "shutting_down"
        assert "[DONE]" not in text
        assert process.wait(timeout=30) == 0
    mock_vllm.wait_until(lambda seen: seen["caller_left_after_s"] is not None)


def test_log_lines_are_json_and_hold_no_prompt(config: Path) -> None:
    with serving_process(config) as (process, url):
        body = chat(messages=[{"role": "user", "content": "canary prompt"}])
        httpx.post(url + CHAT, json=body, headers={"authorization": "Bearer canary-key", "x-request-id": "r-1"})
        process.terminate()
        out, err = process.communicate(timeout=30)
    lines = [json.loads(line) for line in err.splitlines()]
    request = next(line for line in lines if line["event"] == "request")
    assert (request["request_id"], request["model"], request["status"]) == ("r-1", "alpha", 200)
    assert "canary" not in out + err


def test_several_workers_count_together(config: Path) -> None:
    with serving_process(config, "--workers", "2") as (process, url), httpx.Client(base_url=url) as client:
        assert client.get("/readyz").status_code == 200
        for _ in range(8):
            httpx.post(url + CHAT, json=chat())

        async def all_are_counted() -> bool:
            return metric(client, "gateway_requests_total", outcome="ok") == 8

        # Each worker hands over what it has counted from time to time.
        asyncio.run(eventually(all_are_counted))
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_every_worker_follows_a_change(config: Path, tmp_path: Path, mock_vllm: MockVllm) -> None:
    entry = tmp_path / "gamma.yaml"
    entry.write_text(yaml.safe_dump(model_section("gamma", mock_vllm)))
    with serving_process(config, "--workers", "2") as (_, url), httpx.Client(base_url=url) as client:
        assert httpx.post(url + CHAT, json=chat("gamma")).status_code == 404
        done = run_gateway("models", "add", "--config", config, entry)
        assert (done.returncode, done.stdout) == (0, "")

        async def all_have_followed() -> bool:
            # The least of what the workers say.
            return metric(client, "gateway_control_version") == 1

        asyncio.run(eventually(all_have_followed))
        # A connection each: they go to the workers in turn.
        assert [httpx.post(url + CHAT, json=chat("gamma")).status_code for _ in range(4)] == [200] * 4


def test_a_worker_that_is_told_to_stop_gets_no_more_requests(config: Path) -> None:
    mock = {"chunks": 1000, "chunk_delay_s": 0.05}
    with contextlib.ExitStack() as stack:
        process, url = stack.enter_context(serving_process(config, "--workers", "2"))
        # One for each worker.
        for _ in range(2):
            answer = stack.enter_context(httpx.stream("POST", url + CHAT, json=chat(stream=True, mock=mock)))
            parts = stack.enter_context(contextlib.closing(answer.iter_text()))
            next(parts)
        os.kill(worker_pids(process.pid)[0], signal.SIGTERM)
        assert process.stderr is not None
        assert any(json.loads(line)["event"] == "stopping" for line in process.stderr)
        wait_until(lambda: statuses_of_new_connections(url) == [200] * 8)


def statuses_of_new_connections(url: str) -> list[int]:
    """Each stays open, so that a worker that refuses has the fewest."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=url, timeout=30)) for _ in range(8)]
        return [client.post(CHAT, json=chat()).status_code for client in clients]


def worker_pids(parent: int) -> list[int]:
    children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_workers_are_refused_where_limits_would_not_be_exact(tmp_path: Path, mock_vllm: MockVllm) -> None:
    access = {"require_keys": True}
    config = configured(tmp_path, mock_vllm, access=access)
    for workers, told in ((2, "server.workers: limits per key are exact"), (0, "server.workers: Input should be")):
        done = run_gateway("serve", "--config", config, "--port", "0", "--workers", workers)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_an_encoder_that_may_die(
    tmp_path: Path, mock_vllm: MockVllm, exported: RouterBundle, workers: int
) -> None:
    """F55. One process for all; while it is stuck or dead the default model answers, then routing goes on by itself."""
    models = [model_section(name, mock_vllm, router_name=f"llm-{name[0]}") for name in ("alpha", "beta")]
    router: dict[str, Any] = {"bundle": str(exported.path), "default_model": "beta", "decision_cache_entries": 0}
    router["encoder"] = {"timeout_s": 0.5}
    config = write_settings(
        tmp_path / "gateway.yaml",
        models=models,  # type: ignore[arg-type]
        router=router,
        server={"workers": workers},
        # Nobody reads the log, and its pipe holds little.
        log={"level": "error"},
    )
    with serving_process(config) as (process, url):
        wait_until(lambda: asked_reason(url) == "routed")
        (pid,) = encoder_pids(process.pid)
        assert httpx.get(f"{url}/readyz").json()["encoder_up"] is True
        os.kill(pid, signal.SIGSTOP)
        # Connections go to workers in turn: with two questions before it, the third meets each of them.
        wait_until(
            lambda: (
                [asked_reason(url), asked_reason(url)] == ["fallback"] * 2
                and not httpx.get(f"{url}/readyz").json()["encoder_up"]
            )
        )
        # The default model answers, so there is no reason to take the gateway out of service.
        assert httpx.get(f"{url}/readyz").status_code == 200
        reasons: list[str | None] = []
        threads = [threading.Thread(target=lambda: reasons.append(asked_reason(url))) for _ in range(16)]
        for thread in threads:
            thread.start()
        os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert "fallback" in reasons
        assert set(reasons) <= {"fallback", "routed"}
        wait_until(lambda: all(asked_reason(url) == "routed" for _ in range(4 * workers)))
        (successor,) = encoder_pids(process.pid)
        assert successor != pid
        with httpx.Client(base_url=url) as client:
            wait_until(lambda: metric(client, "gateway_dependency_up", dependency="encoder") == 1)
            assert client.get("/readyz").json()["encoder_up"] is True
        process.terminate()
        assert process.wait(timeout=60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(successor, 0)


def asked_reason(url: str) -> str | None:
    with contextlib.suppress(httpx.ConnectError):
        return httpx.post(url + CHAT, json=chat("auto"), timeout=30).headers.get("x-gateway-route-reason")
    return None


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_encoder_that_cannot_be_loaded_is_one_line_and_status_2(
    tmp_path: Path, mock_vllm: MockVllm, exported: RouterBundle
) -> None:
    models = [model_section("alpha", mock_vllm, router_name="llm-a")]
    router = {"bundle": str(exported.path), "default_model": "alpha", "encoder": {"device": "cuda"}}
    config = write_settings(tmp_path / "gateway.yaml", models=models, router=router)  # type: ignore[arg-type]
    done = run_gateway("serve", "--config", config, "--port", "0")
    assert done.returncode == 2
    assert "exported for the CPU" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_gateway_starts_without_a_neural_library() -> None:
    """The base install has no torch; only the learned policy's encoder may ask for it."""
    heavy = ("torch", "transformers", "sentence_transformers", "router_training")
    code = f"import sys, gateway.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=dict(os.environ), check=True
    )
    assert done.stdout.strip() == "[]"
