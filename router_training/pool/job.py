"""`router-training pool score`: ask every model every query, check the answers, write the router's training table.

Promises: killed at any moment, the same command goes on from the journal and asks nothing twice; the table appears
whole or not at all, only when every answer is there, and the same answers give the same bytes. A model that the
endpoint does not serve is refused before the first question. When the journal is complete no endpoint is needed.
Leaves out: judging open-ended answers (a query carries an answer that router_core.answers can check).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from router_core.table import Query, read_queries, write_table
from router_training.errors import DataError, EndpointError, JobConfigError
from router_training.job_config import load_job_config
from router_training.pool.asking import Asking, cells_of
from router_training.pool.config import PoolScoreConfig
from router_training.pool.endpoint import open_endpoint
from router_training.pool.journal import Cell, Header, Journal, read_journal
from router_training.pool.tabulate import cut_answers, matrix, missing_summary, table_rows

NOT_OPTIONS = frozenset({"config", "dry_run"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of PoolScoreConfig as a flag, plus --config and --dry-run."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with any of these options; flags win.")
    parser.add_argument("--dry-run", action="store_true", help="Say what would be asked; ask nothing, write nothing.")
    numbers = {"samples": int, "concurrency": int, "max_tokens": int, "seed": int, "retries": int, "limit": int}
    kinds: dict[str, Any] = {**numbers, "temperature": float, "timeout_s": float}
    for name, field in PoolScoreConfig.model_fields.items():
        default = "" if field.is_required() or field.default is None else f" Default: {field.default}"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=kinds.get(name, str),
            default=argparse.SUPPRESS,  # only what was given overrides the file
            help=f"{field.description}{default}".replace("%", "%%"),
        )


def run(args: argparse.Namespace) -> int:
    """Score the pool. 0: the table is written; 1: answers are missing. Raises RouterTrainingError, RouterCoreError."""
    flags = {name: value for name, value in vars(args).items() if name not in NOT_OPTIONS}
    config = load_job_config(PoolScoreConfig, args.config, flags)
    api_key = _api_key(config, os.environ)
    all_queries = read_queries(config.queries)
    header = Header.of_run(all_queries, temperature=config.temperature, max_tokens=config.max_tokens, seed=config.seed)
    queries = all_queries[: config.limit]
    cells = cells_of(queries, config.models, config.samples)
    if args.dry_run:
        return _dry_run(config, queries, cells, header)
    with Journal(config.journal_path, header) as journal:
        return _score(config, api_key, queries, cells, journal)


def _score(
    config: PoolScoreConfig, api_key: str | None, queries: Sequence[Query], cells: Sequence[Cell], journal: Journal
) -> int:
    todo = [cell for cell in cells if cell not in journal.entries]
    reasons: Mapping[Cell, str] = {}
    if todo:
        print(f"{len(cells) - len(todo)} of {len(cells)} answers are in {journal.path}; asking {len(todo)}", flush=True)
        try:
            reasons = asyncio.run(_ask(config, api_key, queries, todo, journal))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_standing(cells, journal)) from None
        except EndpointError as error:
            raise EndpointError(f"{error}; {_standing(cells, journal)}") from None
    missing = [cell for cell in cells if cell not in journal.entries]
    if missing:
        print(
            f"{config.out} is not written: {len(missing)} of {len(cells)} answers are missing. "
            f"The same command asks for them again.\n{missing_summary(missing, reasons)}",
            file=sys.stderr,
        )
        return 1
    rows = table_rows(queries, config.models, config.samples, journal.entries)
    try:
        write_table(config.out, rows)
    except OSError as error:
        raise DataError(f"{config.out}: cannot be written: {error.strerror}") from error
    print(matrix(rows))
    for model, count in cut_answers(cells, config.models, journal.entries).items():
        print(f"note: {count} answers of {model} were cut at {config.max_tokens} tokens")
    print(f"wrote {config.out}: {len(rows)} queries x {len(config.models)} models, {config.samples} samples each")
    return 0


async def _ask(
    config: PoolScoreConfig, api_key: str | None, queries: Sequence[Query], todo: Sequence[Cell], journal: Journal
) -> Mapping[Cell, str]:
    async with open_endpoint(
        config.endpoint,
        api_key=api_key,
        timeout_s=config.timeout_s,
        retries=config.retries,
        concurrency=config.concurrency,
        random=Random(),  # noqa: S311 - jitter, so that workers do not come back in step
    ) as endpoint:
        served = await endpoint.served_models()
        absent = sorted({cell.model for cell in todo} - set(served))
        if absent:
            raise EndpointError(
                f"{config.endpoint}: does not serve {', '.join(absent)}; it serves: {', '.join(served) or 'nothing'}"
            )
        # A log file wants a line now and then, a terminal wants movement.
        pace_s = 0.5 if sys.stderr.isatty() else 15.0
        with tqdm(total=len(todo), unit="answer", desc="pool score", mininterval=pace_s, smoothing=0.05) as progress:
            asking = Asking(endpoint, journal, {query.id: query for query in queries}, config, progress.update)
            await asking.run(todo)
        return asking.unanswered


def _dry_run(config: PoolScoreConfig, queries: Sequence[Query], cells: Sequence[Cell], header: Header) -> int:
    entries = read_journal(config.journal_path, header)
    present = sum(cell in entries for cell in cells)
    tasks = len({query.task for query in queries})
    print(
        f"{len(queries)} queries of {tasks} tasks x {len(config.models)} models x {config.samples} samples"
        f" = {len(cells)} answers; {present} are in {config.journal_path}, {len(cells) - present} would be asked of"
        f" {config.endpoint}, {config.concurrency} at a time"
    )
    return 0


def _api_key(config: PoolScoreConfig, environment: Mapping[str, str]) -> str | None:
    if config.api_key_env is None:
        return None
    key = environment.get(config.api_key_env, "").strip()
    if not key:
        raise JobConfigError(f"--api-key-env: the environment has no {config.api_key_env}")
    if not (key.isascii() and key.isprintable()):
        raise JobConfigError(f"--api-key-env: {config.api_key_env} holds characters that no HTTP header can carry")
    return key


def _standing(cells: Sequence[Cell], journal: Journal) -> str:
    present = sum(cell in journal.entries for cell in cells)
    return f"{present} of {len(cells)} answers are in {journal.path} and the same command goes on from there"
