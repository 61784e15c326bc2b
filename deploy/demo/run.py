"""`make demo`: real models behind a real gateway, a table of routed queries, then a gateway to play with.

    python -m deploy.demo.run [--port 8000] [--once] [--queries FILE] [--engine-url URL]

Converts the base model (the first time), starts one vLLM engine and the gateway (`gateway serve --config
deploy/demo/gateway.yaml`), sends each query with model "auto", prints who answered, and serves until Ctrl-C. With
--once it ends after the table: 0 when every query was answered, by at least three models. However it ends (Ctrl-C,
SIGTERM, a fault at any moment), the engine and the gateway that it started are stopped. `--engine-url` uses an engine
that already runs and leaves it running.
"""

import argparse
import contextlib
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from deploy.demo.answers_table import Row, header, render
from deploy.demo.convert import ConversionError, convert
from deploy.demo.engine import Engine, EngineError
from deploy.demo.gateway_process import GatewayProcess, GatewayProcessError
from deploy.demo.stop_signals import Stopped, StopSignals

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "deploy" / "demo" / "bundle"
QUERIES = ROOT / "deploy" / "demo" / "queries.txt"
FEWEST_MODELS = 3
MAX_TOKENS = 64
ANSWER_TIMEOUT_S = 300.0


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


def ask(client: httpx.Client, query: str) -> Row:
    """Send one query to model "auto"; raises DemoError unless it is answered."""
    request = {
        "model": "auto",
        "messages": [{"role": "user", "content": query}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    try:
        answer = client.post("/v1/chat/completions", json=request)
    except httpx.HTTPError as error:
        raise DemoError(f"no answer to {query!r}: {error or type(error).__name__}") from error
    if answer.status_code != httpx.codes.OK:
        raise DemoError(f"no answer to {query!r}: status {answer.status_code}: {answer.text[:300]}")
    headers = answer.headers
    confidence = headers.get("x-gateway-confidence")
    return Row(
        query=query,
        model=headers["x-gateway-model"],
        reason=headers["x-gateway-route-reason"],
        confidence=float(confidence) if confidence is not None else None,
        overhead_ms=float(headers["x-gateway-overhead-ms"]),
        answer=answer.json()["choices"][0]["message"]["content"] or "",
    )


def ask_all(url: str, queries: Sequence[str]) -> Counter[str]:
    """Print the table; how many queries each model answered."""
    say(f'\n{len(queries)} queries to model "auto":\n\n{header()}')
    answered: Counter[str] = Counter()
    with httpx.Client(base_url=url, timeout=ANSWER_TIMEOUT_S) as client:
        for query in queries:
            row = ask(client, query)
            answered[row.model] += 1
            say(render(row))
    say("answered by: " + ", ".join(f"{model} {count}" for model, count in answered.most_common()))
    return answered


def read_queries(path: Path) -> list[str]:
    """The lines of `path` that are neither empty nor comments."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"{path}: cannot be read: {error}") from error
    queries = [line for line in lines if line and not line.startswith("#")]
    if not queries:
        raise DemoError(f"{path} holds no query: write one a line")
    return queries


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(port: int) -> None:
    """Raise DemoError when somebody listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"port {port} is taken: stop what uses it, or choose another: make demo PORT=8010"
            ) from error


def check_artefacts() -> None:
    """Raise DemoError unless the trained router is here."""
    if not (BUNDLE / "router.json").is_file():
        raise DemoError(
            "deploy/demo/bundle is not here: `git checkout deploy/demo/bundle`, or train it: make demo-router"
        )


def say(line: str) -> None:
    """A line for the person who watches, at once."""
    print(line, flush=True)


def verdict(answered: Counter[str]) -> int:
    """The exit status of --once."""
    if len(answered) >= FEWEST_MODELS:
        return 0
    say(f"only {len(answered)} different models answered, {FEWEST_MODELS} were expected")
    return 1


def farewell(url: str) -> str:
    """What to do next."""
    return f"""
Serving on {url}. Try it:

  curl -si {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "Sort 42, 7 and 19 from low to high."}}]}}'

or with any OpenAI client: base_url="{url}/v1", api_key="none". Models: curl -s {url}/v1/models
Ctrl-C stops everything."""


def start_engine(signals: StopSignals, stack: contextlib.ExitStack) -> Engine:
    """A ready engine, which `stack` stops."""
    convert(log=say)
    engine = Engine(free_port(), log=say)
    stack.callback(engine.stop)
    say("starting vLLM with the base model and its specialists (one to three minutes on two cores)")
    with signals.held():
        engine.start()
    engine.wait_until_ready()
    return engine


def start_gateway(port: int, engine_url: str, signals: StopSignals, stack: contextlib.ExitStack) -> GatewayProcess:
    """A ready gateway in front of the engine, which `stack` stops."""
    gateway = GatewayProcess(port, engine_url)
    stack.callback(gateway.stop)
    say("starting the gateway")
    with signals.held():
        gateway.start()
    gateway.wait_until_ready(say)
    return gateway


def keep_serving(url: str, checks: Sequence[Callable[[], None]]) -> int:
    """Say how to use it; return when the person at the terminal has had enough, raise when a process went away."""
    try:
        say(farewell(url))
        while True:
            for check in checks:
                check()
            time.sleep(1)
    except Stopped:
        return 0


def run(options: argparse.Namespace, signals: StopSignals) -> int:
    """The whole demo; the exit status."""
    queries = read_queries(options.queries)
    check_artefacts()
    check_port(options.port)
    stack = contextlib.ExitStack()
    try:
        checks: list[Callable[[], None]] = []
        engine_url = options.engine_url
        if engine_url is None:
            engine = start_engine(signals, stack)
            engine_url = engine.url
            checks.append(engine.check_alive)
        gateway = start_gateway(options.port, engine_url, signals, stack)
        checks.append(gateway.check_alive)
        answered = ask_all(gateway.url, queries)
        if options.once:
            return verdict(answered)
        return keep_serving(gateway.url, checks)
    finally:
        signals.ignore()
        say("stopping")
        stack.close()


def main() -> int:
    """Run the demo; 130 when it was interrupted before it served."""
    parser = argparse.ArgumentParser(description="Real models behind a real gateway, and a table of routed queries.")
    parser.add_argument("--port", type=int, default=8000, help="where the gateway serves (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="a file with one query a line")
    parser.add_argument("--engine-url", help="use this running engine, as http://127.0.0.1:8101, and leave it running")
    options = parser.parse_args()
    try:
        return run(options, StopSignals())
    except Stopped:
        return 130
    except (DemoError, ConversionError, EngineError, GatewayProcessError) as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
