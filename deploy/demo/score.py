"""Score the demo's pool on its own queries: deploy/demo/data -> deploy/demo/table, with `router-training pool score`.

    python -m deploy.demo.score

Starts the engine, asks every model every query of router_train and router_test, stops the engine. The answers are kept
in .cache/demo/score as they come, so the same command goes on where it was stopped.
"""

import os
import subprocess
import sys
from pathlib import Path

from deploy.demo.convert import ConversionError, convert
from deploy.demo.engine import ADAPTERS, BASE_NAME, Engine, EngineError, adapters_in
from deploy.demo.run import MAX_TOKENS, free_port, say
from deploy.demo.stop_signals import Stopped, StopSignals

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "deploy" / "demo" / "data"
TABLE = ROOT / "deploy" / "demo" / "table"
JOURNALS = ROOT / ".cache" / "demo" / "score"
SPLITS = {"router_train": "train", "router_test": "test"}
CONCURRENCY = 64


def score_command(split: str, endpoint: str, models: list[str]) -> list[str]:
    """The job that scores one query file."""
    return [
        *(sys.executable, "-m", "router_training", "pool", "score"),
        *("--queries", str(DATA / f"{split}.jsonl"), "--out", str(TABLE / f"{SPLITS[split]}.jsonl")),
        *("--journal", str(JOURNALS / f"{split}.jsonl"), "--endpoint", endpoint, "--models", ",".join(models)),
        *("--concurrency", str(CONCURRENCY), "--max-tokens", str(MAX_TOKENS)),
    ]


def score(signals: StopSignals) -> int:
    """Score both files; the first exit status that is not 0."""
    convert(log=say)
    models = [BASE_NAME, *adapters_in(ADAPTERS)]
    TABLE.mkdir(parents=True, exist_ok=True)
    JOURNALS.mkdir(parents=True, exist_ok=True)
    engine = Engine(free_port(), log=say)
    try:
        with signals.held():
            engine.start()
        engine.wait_until_ready()
        for split in SPLITS:
            status = subprocess.run(score_command(split, engine.url, models), cwd=ROOT, check=False).returncode
            if status != 0:
                return status
        return 0
    finally:
        signals.ignore()
        engine.stop()


def main() -> int:
    """Score the pool; 130 when interrupted."""
    os.chdir(ROOT)
    try:
        return score(StopSignals())
    except Stopped:
        return 130
    except (ConversionError, EngineError) as error:
        print(f"deploy.demo.score: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
