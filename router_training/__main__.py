"""`router-training <job> [options]`: one program, one job per paper or step.

A job is a module with `add_arguments(parser)` and `run(args) -> int` (the exit status) and one line in JOBS. The
registry is lazy: only the job that was named is imported, so listing the jobs needs neither torch nor another extra.

Promises: an error of this package or of router_core, a missing extra and Ctrl-C each print one line on stderr; the exit
status is 0 when the job did its work, 1 when it ran but could not finish, 2 for an error, 130 for Ctrl-C.
Leaves out: everything a job does; its options are its own (`router-training pool score --help`).
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import MappingProxyType

from router_core.errors import RouterCoreError
from router_training.errors import RouterTrainingError

PROGRAM = "router-training"
Name = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """Where a job lives and what it is for, in one line."""

    module: str
    summary: str


JOBS: Mapping[Name, Job] = MappingProxyType(
    {
        ("sft",): Job("router_training.sft.job", "fine-tune a LoRA specialist on queries with known answers"),
        ("pool", "score"): Job("router_training.pool.job", "ask every model every query; write the training table"),
        ("router", "train"): Job("router_training.routers.job", "train a RouterDC router on a table; write a bundle"),
        ("router", "add-model"): Job("router_training.routers.add_model", "add a model to a bundle from few probes"),
        ("router", "evaluate"): Job("router_training.evaluate.job", "compare a bundle with every single model"),
        ("router", "report"): Job("router_training.evaluate.page.job", "the same and more as a page with charts"),
    }
)


def main(argv: Sequence[str] | None = None, *, jobs: Mapping[Name, Job] = JOBS) -> int:
    """Run the job that the arguments name and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((name for name in jobs if tuple(words[: len(name)]) == name), None)
    if name is None:
        return _without_job(words, jobs)
    title = " ".join((PROGRAM, *name))
    try:
        return _run(title, jobs[name], words[len(name) :])
    except (RouterTrainingError, RouterCoreError) as error:
        return _fail(f"{title}: {error}", status=2)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"router_training", "router_core", ""}:
            raise  # our own fault, not a missing extra: the traceback is wanted
        return _fail(f"{title}: needs {missing}: pip install 'routerdc-gateway[train]'", status=2)
    except KeyboardInterrupt as interrupt:
        # A job that can be resumed says so in the interrupt it raises.
        return _fail(f"{title}: interrupted" + "".join(f"; {line}" for line in interrupt.args), status=130)


def _run(title: str, job: Job, words: list[str]) -> int:
    module = importlib.import_module(job.module)
    parser = argparse.ArgumentParser(prog=title, description=job.summary, allow_abbrev=False)
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(words))
    return status


def _without_job(words: list[str], jobs: Mapping[Name, Job]) -> int:
    """No job was named: the list of jobs for `--help` or an unfinished name, one line for an unknown one."""
    asks_for_help = bool({"-h", "--help"} & set(words))
    spoken = tuple(takewhile(lambda word: not word.startswith("-"), words))
    listed = {name: job for name, job in jobs.items() if name[: len(spoken)] == spoken}
    if not listed:
        known = ", ".join(" ".join(name) for name in jobs)
        return _fail(f"{PROGRAM}: no job is called {' '.join(spoken)!r}; the jobs are: {known}", status=2)
    width = max(len(" ".join(name)) for name in listed)
    lines = [f"usage: {PROGRAM} JOB [options]      ({PROGRAM} JOB --help lists the options)", "", "jobs:"]
    lines += [f"  {' '.join(name):<{width}}  {job.summary}" for name, job in listed.items()]
    print("\n".join(lines), file=sys.stdout if asks_for_help else sys.stderr)
    return 0 if asks_for_help else 2


def _fail(line: str, *, status: int) -> int:
    print(line, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
