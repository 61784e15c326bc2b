"""Make every specialist of the demo again: convert the base, write the training sets, run the five `sft` jobs.

    python -m deploy.demo.train_specialists [--only NAME ...] [--side-by-side 2]

Two jobs of one thread each run side by side: on two cores that takes about as long as the longest job, some 40 minutes.
A job that was interrupted continues from its last checkpoint. Output of each job: .cache/demo/sft/<name>/train.log.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo.convert import convert
from deploy.demo.make_data import make_data

ROOT = Path(__file__).resolve().parents[2]
JOBS = ("multi", "math", "nsort", "wrev", "json")  # the longest first


def train(name: str) -> int:
    """Run one job in a process of its own and return its exit status."""
    work = ROOT / ".cache" / "demo" / "sft" / name
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "router_training", "sft", "--config", f"deploy/demo/sft/{name}.yaml"]
    if any((work / "checkpoints").glob("checkpoint-*")):
        command.append("--resume")
    log = work / "train.log"
    print(f"{name}: {' '.join(command[2:])}   (log: {log.relative_to(ROOT)})", flush=True)
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    with log.open("ab") as stream:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, check=False)
    outcome = "done" if done.returncode == 0 else f"failed with status {done.returncode}, see its log"
    print(f"{name}: {outcome}", flush=True)
    return done.returncode


def main() -> int:
    """Make what was asked for; 1 when a job failed."""
    parser = argparse.ArgumentParser(description="Train the demo's specialists.")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS), help="some of the jobs")
    parser.add_argument("--side-by-side", type=int, default=2, help="jobs at a time (default: %(default)s)")
    options = parser.parse_args()
    os.chdir(ROOT)
    convert()
    make_data()
    with ThreadPoolExecutor(options.side_by_side) as pool:
        return int(any(list(pool.map(train, options.only))))


if __name__ == "__main__":
    sys.exit(main())
