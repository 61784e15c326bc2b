"""The engine's life around a stand-in for vLLM: a script in the place of its Python. Real vLLM: tests/e2e."""

import json
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from deploy.demo.engine import ADAPTERS, Engine, EngineError, adapters_in, best_dtype

SERVER = """#!{python}
import http.server, json, os, sys
arguments = sys.argv[1:]
with open({record!r}, "w") as file:
    json.dump({{"arguments": arguments, "pid": os.getpid(), "offline": os.environ["HF_HUB_OFFLINE"]}}, file)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(arguments[arguments.index("--port") + 1])), Health).serve_forever()
"""
DYING = """#!{python}
import sys
print("loading")
sys.exit("out of memory: need 3 GB")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


def engine(place: Path, script: str, said: list[str] | None = None) -> Engine:
    python = place / "python"
    python.write_text(script.format(python=sys.executable, record=str(place / "record.json")))
    python.chmod(0o755)
    return Engine(
        free_port(),
        model=place / "model",
        python=python,
        log_file=place / "engine.log",
        log=(said if said is not None else []).append,
    )


def test_it_starts_waits_and_stops(place: Path) -> None:
    said: list[str] = []
    one = engine(place, SERVER, said)
    one.start()
    try:
        one.wait_until_ready(30)
        one.check_alive()
    finally:
        one.stop()
    record = json.loads((place / "record.json").read_text())
    assert "engine ready" in said[-1]
    assert record["offline"] == "1"
    assert not Path(f"/proc/{record['pid']}").exists()
    one.stop()  # a second stop has nothing to do


def test_it_serves_the_base_and_every_specialist_under_its_own_name(place: Path) -> None:
    one = engine(place, SERVER)
    one.start()
    try:
        one.wait_until_ready(30)
    finally:
        one.stop()
    words = json.loads((place / "record.json").read_text())["arguments"]
    assert words[words.index("--served-model-name") + 1] == "smollm2"
    modules = words[words.index("--lora-modules") + 1 : words.index("--enable-auto-tool-choice")]
    assert {module.split("=")[0] for module in modules} == set(adapters_in(ADAPTERS))
    # The CPU kernels answer the base with the last slot's weights: it must stay empty.
    assert int(words[words.index("--max-loras") + 1]) == len(modules) + 1
    assert "--enforce-eager" in words


def test_an_engine_that_dies_says_why(place: Path) -> None:
    one = engine(place, DYING)
    one.start()
    with pytest.raises(EngineError, match=r"ended with status 1(.|\n)*out of memory: need 3 GB"):
        one.wait_until_ready(30)
    one.stop()


def test_an_engine_that_is_never_ready_is_given_up(place: Path) -> None:
    one = engine(place, f"#!{sys.executable}\nimport time\nprint('still here', flush=True)\ntime.sleep(300)\n")
    one.start()
    try:
        time.sleep(0.5)
        with pytest.raises(EngineError, match="not ready after 1 s"):
            one.wait_until_ready(1)
    finally:
        one.stop()


def test_what_is_missing_is_named(place: Path) -> None:
    with pytest.raises(EngineError, match="make setup"):
        Engine(1, model=place / "model", python=place / "none").start()
    with pytest.raises(EngineError, match=r"deploy\.demo\.convert"):
        Engine(1, model=place / "none", python=Path(sys.executable)).start()
    with pytest.raises(EngineError, match="holds no specialist"):
        Engine(1, model=place / "model", python=Path(sys.executable), adapters=place).start()
    with pytest.raises(EngineError, match="was not started"):
        Engine(1).check_alive()


def test_an_altered_specialist_is_not_served(place: Path) -> None:
    name = sorted(path.name for path in ADAPTERS.iterdir())[0]
    shutil.copytree(ADAPTERS / name, place / "adapters" / name)
    assert list(adapters_in(place / "adapters")) == [name]
    with (place / "adapters" / name / "adapter_model.safetensors").open("r+b") as weights:
        weights.seek(5000)
        weights.write(b"\xff")
    with pytest.raises(EngineError, match="was altered"):
        adapters_in(place / "adapters")


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("fpu avx2", "float32"), ("avx512f avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("", "float32")],
)
def test_bf16_is_used_only_where_the_processor_multiplies_it(flags: str, dtype: str) -> None:
    assert best_dtype(f"flags : {flags}\n") == dtype
