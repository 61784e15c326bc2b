"""The choices that were promised most and earned least, to read: what the router gets wrong, in its own words."""

import numpy as np

from router_training.evaluate.page.judgement import Judgement, Task
from router_training.evaluate.page.section import Section, TextTable

QUESTION_CHARACTERS = 240


def build(judgement: Judgement) -> Section | None:
    """Nothing if no examples were asked for, or no choice could have been better."""
    found = [(gap, task, row) for task in judgement.tasks for gap, row in _mistakes(task)]
    found.sort(key=lambda one: -one[0])
    rows = tuple(_row(judgement, task, row) for _, task, row in found[: judgement.examples])
    if not rows:
        return None
    return Section(
        title="Costly choices",
        lead="Queries on which another model would have earned more, those with the most misplaced promise first.",
        tables=(
            TextTable(
                "What was asked, who was chosen and who would have been right",
                ("query", "task", "chosen", "promised", "earned", "best", "would have earned", "question"),
                rows,
                is_prose=True,
            ),
        ),
    )


def _mistakes(task: Task) -> list[tuple[float, int]]:
    """Promise in vain, for the rows where a better choice was there: stated probability times the credit missed."""
    rows = np.arange(len(task))
    missed = task.routed.credit.max(axis=1) - task.routed.routed_credit
    vain = task.probability[rows, task.routed.choice] * missed
    return [(float(vain[row]), int(row)) for row in rows if missed[row] > 0]


def _row(judgement: Judgement, task: Task, row: int) -> tuple[str, ...]:
    credit, choice = task.routed.credit[row], int(task.routed.choice[row])
    best = int(credit.argmax())
    text = " ".join(task.questions[row].split())
    return (
        task.ids[row],
        task.name,
        judgement.models[choice],
        f"{task.probability[row, choice]:.2f}",
        f"{credit[choice]:.2f}",
        judgement.models[best],
        f"{credit[best]:.2f}",
        text if len(text) <= QUESTION_CHARACTERS else f"{text[:QUESTION_CHARACTERS]}…",
    )
