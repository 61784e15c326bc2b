"""Ask every cell that the journal lacks: bounded concurrency over all models, one journal line per answer.

Order: query by query, within it model by model, within that sample by sample. So requests under way at any time are a
mix of all models: an engine batches its LoRA adapters together, and where each model has an engine of its own none
stands idle while another's column is filled. The samples of one model on one query follow each other, which is what a
prefix cache wants (caches are per adapter). A run that is stopped leaves whole rows, a wrong name is noticed in the
first requests, and the time left is honest because slow models are spread evenly.

A cell that stays unanswered after its retries is left for the next run. As many in a row as there are requests under
way (at least 3) mean that the endpoint is gone: the run stops instead of failing its way through the rest.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from router_core.answers import is_right
from router_core.table import Query
from router_training.errors import EndpointError, RouterTrainingError
from router_training.pool.config import PoolScoreConfig
from router_training.pool.endpoint import Endpoint, Unanswered
from router_training.pool.journal import Cell, Entry, Journal

FEWEST_FAILURES_TO_STOP: Final = 3


def cells_of(queries: Sequence[Query], models: Sequence[str], samples: int) -> list[Cell]:
    """Everything a table needs, in the order in which it is asked."""
    return [Cell(query.id, model, sample) for query in queries for model in models for sample in range(samples)]


class Asking:
    """One pass over the cells that are missing. `on_settled` is called once per cell, answered or given up."""

    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal,
        queries: Mapping[str, Query],
        config: PoolScoreConfig,
        on_settled: Callable[[], object],
    ) -> None:
        self.unanswered: dict[Cell, str] = {}
        self._endpoint = endpoint
        self._journal = journal
        self._queries = queries
        self._config = config
        self._on_settled = on_settled
        self._failures_in_a_row = 0

    async def run(self, missing: Sequence[Cell]) -> None:
        """Ask `missing`; what stays open is in `unanswered`. Raises EndpointError, DataError."""
        todo = iter(missing)
        failure: RouterTrainingError | None = None
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._config.concurrency, len(missing))):
                    workers.create_task(self._work(todo))
        except* RouterTrainingError as group:
            failure = _first(group)
        if failure is not None:  # raised here because `except*` would wrap it again
            raise failure

    async def _work(self, todo: Iterator[Cell]) -> None:
        for cell in todo:
            await self._settle(cell)
            if self._journal.is_sync_due:
                await asyncio.to_thread(self._journal.sync)

    async def _settle(self, cell: Cell) -> None:
        query = self._queries[cell.query_id]
        outcome = await self._endpoint.ask(
            query.question,
            model=cell.model,
            max_tokens=self._config.max_tokens,
            temperature=self._config.temperature,
            seed=self._config.seed + cell.sample,
            about=f"query {cell.query_id!r}",
        )
        if isinstance(outcome, Unanswered):
            self._give_up(cell, outcome.reason)
        else:
            self._failures_in_a_row = 0
            self._journal.append(
                Entry(
                    id=cell.query_id,
                    model=cell.model,
                    sample=cell.sample,
                    reply=outcome.text,
                    right=is_right(query.answer, outcome.text),
                    prompt_tokens=outcome.prompt_tokens,
                    completion_tokens=outcome.completion_tokens,
                    seconds=outcome.seconds,
                    finish_reason=outcome.finish_reason,
                )
            )
        self._on_settled()

    def _give_up(self, cell: Cell, reason: str) -> None:
        self.unanswered[cell] = reason
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= max(FEWEST_FAILURES_TO_STOP, self._config.concurrency):
            raise EndpointError(f"{self._config.endpoint}: {self._failures_in_a_row} in a row unanswered: {reason}")


def _first(group: BaseExceptionGroup[RouterTrainingError]) -> RouterTrainingError:
    """The failure that cancelled the other workers; theirs would say the same."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
