"""The section of docs/results.md about RouterDC's own data, as Markdown made from what was found.

Every sentence that compares is made from a paired interval: a gain is claimed only where it lies above zero.

Axis suffixes: N test queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy_table import Row, accuracy_table, reference_rows
from benchmarks.contenders import FEATURES, MINILM, Result, Vectors
from benchmarks.default_sections import (
    duplicates,
    prior_of,
    residual_notes,
    trust,
    unlike_the_benchmark,
    within_tasks,
)
from benchmarks.fine_tuned import BATCH, SAMPLED_PER_TASK, FineTuned
from benchmarks.line_up import BOTH_LOSSES, ONE_LOSS, PRIOR
from benchmarks.paired import Difference, listed, paragraph, percent, table, verdicts
from benchmarks.report import provenance
from benchmarks.served import Routed, Served
from benchmarks.sides import ROUTERDC_TASKS, SMALL_TASK, Sides, earned_by
from benchmarks.text_variants import variants_of
from benchmarks.unseen_tasks import BEST_OF_OTHERS, DEFAULT, TASK_BEST, Unseen
from router_training.evaluate.routed_accuracy import Floats

REPORTED = "RouterDC as reported in the paper, quoted from memory, not re-verified"
DEFAULT_ROW = "**default (prior_residual), as served**"


@dataclass(frozen=True)
class Findings:
    """All that the section tells. `served` has a bundle per seed, `results` the rows on each encoder's vectors."""

    sides: Sides
    seeds: tuple[int, ...]
    served: tuple[Served, ...]
    results: tuple[tuple[Vectors, tuple[Result, ...]], ...]
    unseen: tuple[Unseen, ...]
    fine_tuned: FineTuned | None


def render(found: Findings, command: str, took_s: float) -> str:
    """The whole section; `took_s` is what the run took up to here."""
    sides, first = found.sides, found.served[0]
    routed = [served.route(sides.test.questions) for served in found.served]
    rows = _rows(found, routed)
    choices = {
        "default": routed[0].choice,
        PRIOR.label: prior_of(routed[0]),
        "best single LLM on train": np.full(len(sides.test), sides.best_single),
    }
    blocks = [
        "## RouterDC's own data",
        provenance(command),
        _method(found, took_s),
        "### Every method beside the task prior",
        _table(sides, rows),
        _reading(sides, rows, found),
        "### Within a task",
        within_tasks(sides, choices, residual_notes(first)),
        "### A task that no router has seen",
        _unseen(found.unseen),
        "### Queries unlike the benchmark's",
        unlike_the_benchmark(sides, variants_of(sides), first),
        "### Probabilities and abstention",
        trust(sides, first, routed[0]),
        "### Test questions that stand in train",
        duplicates(sides, earned_by(routed[0].choice, sides.test.credit)),
        "### Time and size",
        _time_and_size(found),
    ]
    return "\n\n".join(blocks)


def _rows(found: Findings, routed: Sequence[Routed]) -> dict[str, Row]:
    """Every router by its label, the default first."""
    credit = found.sides.test.credit
    rows = [Row(DEFAULT_ROW, tuple(earned_by(one.choice, credit) for one in routed))]
    for vectors, results in found.results:
        where = "" if vectors.name == FEATURES else f" on {vectors.name}"
        rows += [Row(result.label + where, result.earned) for result in results]
    return {row.label: row for row in rows}


def _table(sides: Sides, rows: dict[str, Row]) -> str:
    reported = [task.reported for task in ROUTERDC_TASKS]
    shown = [*rows.values(), *reference_rows(sides)]
    return accuracy_table(sides, shown, rows[PRIOR.label], apart=SMALL_TASK, reported=(REPORTED, reported))


def _method(found: Findings, took_s: float) -> str:
    seeds = f"seed{'s' if len(found.seeds) > 1 else ''} {listed([str(seed) for seed in found.seeds])}"
    encoders = " and ".join(vectors.name for vectors, _ in found.results)
    return paragraph(f"""
        Frozen vectors: {encoders}; rows that name none are on {FEATURES}. Settings are chosen by 5-fold
        cross-validation on train, half of it on tasks left out of a fold's fit, and fitted on all of train; test is
        read for reporting only. The default is judged as it is served, with its calibration. Every other method is
        judged by its own figures. Rows with +- draw at random: mean and standard deviation over {seeds}. GSM8K and
        HumanEval credit the share of samples that pass, the others 1 where the score is above 0. Means are unweighted
        over tasks but for "per query". RouterDC as in the paper: K+ = K- = H = 3, lambda = 1, t = 1, 1000 steps of 64
        queries, 1000 rows a task, a linear head of 128 on frozen vectors. Differences are paired query by query,
        credits averaged over the seeds, 95% bootstrap within each task; the intervals cover the draw of queries, not
        that of seeds. The run took {took_s:.0f} s. No cost dial here: the seven models are of one size, see the demo's
        pool.""")


def _reading(sides: Sides, rows: dict[str, Row], found: Findings) -> str:
    prior, default = rows[PRIOR.label], rows[DEFAULT_ROW]
    to_prior = _difference(sides, default, prior)
    large = _difference(sides, default, prior, leave_out=SMALL_TASK)
    to_single = _difference(sides, default, reference_rows(sides)[0])
    rivals = [row for label, row in rows.items() if label not in (PRIOR.label, DEFAULT_ROW)]
    ours = f"""
        What this means: the default {to_prior.verdict} the task prior ({to_prior} points; without {SMALL_TASK} {large})
        and {to_single.verdict} the best single LLM ({to_single}). Of the other routers, mean over the five tasks,
        {_against(sides, rivals, prior)}. Without {SMALL_TASK}, whose queries are few,
        {_against(sides, rivals, prior, leave_out=SMALL_TASK)}. {_losses(sides, rows)}"""
    return "\n\n".join(
        [paragraph(ours), paragraph(_beside_the_paper(sides, default)), *_fine_tuned(sides, rows, found)]
    )


def _against(sides: Sides, rivals: Sequence[Row], prior: Row, leave_out: str | None = None) -> str:
    found = {row.label: _difference(sides, row, prior, leave_out) for row in rivals}
    return f"beside the task prior, {verdicts(found, of='routers')}"


def _beside_the_paper(sides: Sides, default: Row) -> str:
    reported = float(np.mean([task.reported for task in ROUTERDC_TASKS]))
    parts = sides.by_task(default.mean)
    around = Difference.of(parts)
    is_inside = around.low <= reported <= around.high
    said = "nothing is claimed about it" if is_inside else "the draw of test queries alone does not explain it"
    step = 100 / len(sides.rows(SMALL_TASK))
    return f"""
        The default's mean is {percent(parts, 2)}. The paper's row has no queries to pair with and was not re-run; its
        mean of {reported:.2f} lies {"within" if is_inside else "outside"} that interval, {around.mean - reported:+.2f}
        points from the default's, so {said}. {SMALL_TASK} has {len(sides.rows(SMALL_TASK))} test queries: one of them
        moves it by {step:.1f} points and the mean by {step / len(sides.tasks):.1f}."""


def _losses(sides: Sides, rows: dict[str, Row]) -> str:
    """What the second loss adds, and what the default adds to RouterDC on the same vectors."""
    default, told = rows[DEFAULT_ROW], []
    for where in ("", f" on {MINILM}"):
        if BOTH_LOSSES.label + where in rows:
            both = rows[BOTH_LOSSES.label + where]
            second = _difference(sides, both, rows[ONE_LOSS.label + where])
            told.append(f"""
                On {MINILM if where else FEATURES} vectors RouterDC with both losses {second.verdict} itself without
                the second one ({second}), and the default {_difference(sides, default, both).verdict} it
                ({_difference(sides, default, both)}).""")
    return " ".join(told)


def _fine_tuned(sides: Sides, rows: dict[str, Row], found: Findings) -> list[str]:
    tuned = found.fine_tuned
    if tuned is None:
        return []
    tasks = np.array(sides.test.tasks)[tuned.rows]

    def parts(earned_R: Floats) -> list[Floats]:
        return [earned_R[tasks == task] for task in sides.tasks]

    ours, prior = parts(tuned.earned), parts(rows[PRIOR.label].mean[tuned.rows])
    frozen = parts(rows[f"{BOTH_LOSSES.label} on {MINILM}"].mean[tuned.rows])
    to_prior, to_frozen = Difference.paired(ours, prior), Difference.paired(ours, frozen)
    return [
        paragraph(f"""
            RouterDC with its encoder fine-tuned, as far as this machine allows: MiniLM, {tuned.steps} steps of {BATCH}
            queries in {tuned.trained_s:.0f} s; checkpoint {tuned.checkpoint}, chosen on a tenth of train; one seed.
            Judged on {len(tuned.rows)} test queries, at most {SAMPLED_PER_TASK} of each task, drawn at random and
            embedded in {tuned.embedded_s:.0f} s. Means over the tasks on those: {percent(ours)} fine-tuned,
            {percent(frozen)} for the same losses on frozen MiniLM, {percent(prior)} for the task prior. So it
            {to_prior.verdict} the task prior ({to_prior}) and {to_frozen.verdict} the same losses on frozen MiniLM
            ({to_frozen}). The paper trains an encoder ten times as large for 1000 steps, so this says little of
            it.""")
    ]


def _unseen(unseen: Sequence[Unseen]) -> str:
    names = list(unseen[0].earned)
    routers = [name for name in names if name not in (BEST_OF_OTHERS, TASK_BEST)]
    order = [*routers, BEST_OF_OTHERS, TASK_BEST]
    lines = [
        [one.task, str(len(one.earned[TASK_BEST])), *(f"{100 * one.earned[name].mean():.2f}" for name in order)]
        for one in unseen
    ]
    means = [f"{100 * np.mean([one.earned[name].mean() for one in unseen]):.2f}" for name in order]
    lines.append(["mean", str(sum(len(one.earned[TASK_BEST]) for one in unseen)), *means])
    told = []
    for name in routers:
        parts = [[one.earned[rival] for one in unseen] for rival in (name, BEST_OF_OTHERS)]
        difference = Difference.paired(parts[0], parts[1])
        told.append(f"{name} {difference.verdict} it ({difference})")
    against = ""
    if DEFAULT in routers:
        difference = Difference.paired(
            [one.earned[DEFAULT] for one in unseen], [one.earned[PRIOR.label] for one in unseen]
        )
        against = f" The default {difference.verdict} the task prior ({difference})."
    text = paragraph(f"""
        Each task in turn is left out of train, of the features and of every choice, and its test queries are routed.
        Against the best single LLM of the other tasks, mean over the tasks: {"; ".join(told)}.{against}""")
    return f"{table(['unseen task', 'n', *order], lines)}\n\n{text}"


def _time_and_size(found: Findings) -> str:
    took_s = float(np.mean([one.took_s for one in found.served]))
    whole = [("default: the whole bundle, with its encoder", took_s, found.served[0].size_bytes)]
    for vectors, results in found.results:
        whole.append((f"{vectors.name}: encoder, both sides encoded", vectors.took_s, vectors.encoder_bytes))
        whole += [(f"{vectors.name}: {one.label}", one.took_s, one.scorer_bytes) for one in results]
    lines = [[what, f"{seconds:.1f}", f"{size / 2**10:,.1f}"] for what, seconds, size in whole]
    text = paragraph("""
        Seconds of wall clock: for the default the whole training job, for a method its choice of a setting (where it
        has one) and one fit, on vectors that are there already. Embeddings of the sentence encoder may have come from
        the cache of an earlier run. Sizes are of float32 weights.""")
    return f"{table(['what', 'seconds', 'KiB'], lines)}\n\n{text}"


def _difference(sides: Sides, ours: Row, theirs: Row, leave_out: str | None = None) -> Difference:
    return Difference.paired(
        sides.by_task(ours.mean, leave_out=leave_out), sides.by_task(theirs.mean, leave_out=leave_out)
    )
