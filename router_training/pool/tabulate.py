"""From answers to the training table, and to the matrix that a person reads.

Verdicts are computed here, from the stored replies, with the checker and the expected answers of today.
"""

from collections.abc import Mapping, Sequence

from router_core.answers import is_right
from router_core.table import Query, TableRow
from router_training.pool.journal import Cell, Entry


def table_rows(
    queries: Sequence[Query], models: Sequence[str], samples: int, entries: Mapping[Cell, Entry]
) -> list[TableRow]:
    """One row per query: per model the share of its samples that is right. Every cell must be in `entries`."""
    return [
        TableRow(
            id=query.id,
            question=query.question,
            task=query.task,
            group=query.group,
            scores={model: _share_right(query, model, samples, entries) for model in models},
            samples=samples,
        )
        for query in queries
    ]


def _share_right(query: Query, model: str, samples: int, entries: Mapping[Cell, Entry]) -> float:
    replies = [entries[Cell(query.id, model, sample)].reply for sample in range(samples)]
    return sum(is_right(query.answer, reply) for reply in replies) / samples


def matrix(rows: Sequence[TableRow]) -> str:
    """Mean score of each model on each task (in order of first appearance) and on all rows, with the count of rows."""
    tasks = dict.fromkeys(str(row.task) for row in rows)
    groups = [(task, [row for row in rows if str(row.task) == task]) for task in tasks]
    models = tuple(rows[0].scores)
    lines = [["task", "n", *models]]
    for label, members in [*groups, ("all", list(rows))]:
        means = [sum(row.scores[model] for row in members) / len(members) for model in models]
        lines.append([label, str(len(members)), *(f"{mean:.3f}" for mean in means)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(fields))
        for fields in (list(zip(line, widths, strict=True)) for line in lines)
    )


def cut_answers(cells: Sequence[Cell], models: Sequence[str], entries: Mapping[Cell, Entry]) -> dict[str, int]:
    """Per model, how many answers ended at the token limit; models with none are left out."""
    cut = [cell.model for cell in cells if cell in entries and entries[cell].finish_reason == "length"]
    return {model: cut.count(model) for model in models if model in cut}


def missing_summary(missing: Sequence[Cell], reasons: Mapping[Cell, str]) -> str:
    """One line per model: how many answers it lacks, the first query ids, and why the last of them is open."""
    lines = []
    for model in dict.fromkeys(cell.model for cell in missing):
        cells = [cell for cell in missing if cell.model == model]
        ids = list(dict.fromkeys(cell.query_id for cell in cells))
        named = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        why = next((f": {reasons[cell]}" for cell in reversed(cells) if cell in reasons), "")
        lines.append(f"  {model}: {len(cells)} (queries {named}){why}")
    return "\n".join(lines)
