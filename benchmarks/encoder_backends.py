"""What runs a sentence encoder fastest on one CPU core, and does it still route alike: a section of docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.encoder_backends     (DIR holds train/; default data/routerdc)

all-MiniLM-L6-v2 by torch, by what this project exports, and by the rivals that were passed over. These are not in the
locked environment; without them their rows say so:

    pip install --target .cache/benchmarks/encoder_peers --no-deps onnxruntime==1.32.0 onnx==1.23.2 protobuf==7.36.2 \\
      ml_dtypes==0.6.0 flatbuffers==25.12.19 nncf==3.4.0 pydot==4.0.1 tabulate==0.10.0

One process on one core; token ids are given, so no tokenizer is timed; rounds are interleaved, so that a disturbance
hits every row. Fidelity is measured on training questions of RouterDC's data: cosine to torch's vectors, and the share
of questions for which routers of three methods, trained on torch's vectors, pick the same model.

Leaves out: GPUs, and batches, whose gain on one core is small (see MOST_TOKENS in router_core/exported_encoder.py).
"""

import argparse
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.encoder_peers import Backend, Ids, Run, build_backends
from benchmarks.report import provenance, write_section
from benchmarks.sides import ROUTERDC_TASKS, take_rows
from router_core.encoder_files import PACKAGED_ENCODER
from router_core.tensors import FloatArray
from router_training.routers.dataset import DataFile, RouterData, read_router_data
from router_training.routers.encoder import SentenceEncoder, load_encoder
from router_training.routers.encoder_export import LEAST_AGREEMENT, Choose, export_encoder
from router_training.routers.methods.base import FitData, Indices, quality_of
from router_training.routers.methods.choosing import choose_setting, draw_folds
from router_training.routers.methods.registry import Method, method_named

MAX_TOKENS = 128
LENGTHS = (16, 64, 256)
TARGET_MS = {16: 5, 64: 10, 256: 40}
ROUNDS = {16: 100, 64: 60, 256: 30}
QUESTIONS_PER_TASK = 150
JUDGES = ("task_prior", "ridge", "knn")
"""From the method that reads the coarsest trait of a vector to the one that reads the finest."""


@dataclass(frozen=True)
class Row:
    """What was measured of one backend: p50 by number of tokens, cosines, share routed alike by method of JUDGES."""

    name: str
    p50_ms: dict[int, float]
    worst_cosine: float
    mean_cosine: float
    agreement: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every backend and write the section."""
    args = _parser().parse_args(arguments)
    files = [DataFile(args.data / "train" / task.train, task.metric) for task in ROUTERDC_TASKS]
    if not all(file.path.is_file() for file in files):
        print(f"{args.data}: lacks RouterDC's train/*.json.gz; set ROUTERDC_DATA to their folder", file=sys.stderr)
        return 2
    began, origin = time.monotonic(), provenance("python -m benchmarks.encoder_backends")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    encoder = load_encoder(PACKAGED_ENCODER, max_tokens=MAX_TOKENS, truncation_side="left")
    data = sample(read_router_data(files))
    vectors = encoder.embed(data.questions)
    routers = train_routers(data, vectors)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "exported"
        # A few questions: the table below is the verification.
        export_encoder(encoder, exported, data.questions[:8], routers["ridge"])
        backends = build_backends(encoder, exported, Path(scratch), args.peers)
        rows = measure(backends, encoder, data.questions, routers, vectors)
    section = render(rows, backends, len(data), f"{origin} It took {time.monotonic() - began:.0f} s.")
    write_section(args.results, "encoder_backends", section)
    print(section)
    return 0


def sample(data: RouterData) -> RouterData:
    """At most QUESTIONS_PER_TASK questions of each task, spread evenly over its rows."""
    tasks = np.array(data.tasks)
    kept = []
    for task in sorted(set(data.tasks)):
        rows = np.flatnonzero(tasks == task)
        kept.append(rows[:: max(1, len(rows) // QUESTIONS_PER_TASK)][:QUESTIONS_PER_TASK])
    return take_rows(data, np.concatenate(kept))


def train_routers(data: RouterData, vectors_N_D: FloatArray) -> dict[str, Choose]:
    """A router of each method of JUDGES, with the setting that cross-validation picks."""
    fit_data = FitData(vectors_N_D, data.credit, data.scores, data.tasks)
    folds_N = draw_folds(data.questions, data.tasks, folds=5, seed=0)
    return {name: train_router(method_named(name), fit_data, folds_N) for name in JUDGES}


def train_router(method: Method, data: FitData, folds_N: Indices) -> Choose:
    """Vectors (N, D) -> the model (N,) that a router of this method picks."""
    setting, _ = choose_setting(method, data, folds_N)
    fitted = method.fit(data, **setting)
    return lambda vectors_N_D: quality_of(fitted, vectors_N_D, data.credit.shape[1]).argmax(axis=1)


def measure(
    backends: Sequence[Backend],
    encoder: SentenceEncoder,
    questions: Sequence[str],
    routers: Mapping[str, Choose],
    vectors_N_D: FloatArray,
) -> list[Row]:
    """A row for every backend that is installed."""
    runs = {backend.name: backend.run for backend in backends if backend.run is not None}
    latency = {length: p50_ms(runs, length) for length in LENGTHS}
    ids = [encoder.model.tokenizer(text, truncation=True, max_length=MAX_TOKENS).input_ids for text in questions]
    rows = []
    for name, run in runs.items():
        found = np.concatenate([run(*as_batch(row)) for row in ids])
        lengths_N = np.linalg.norm(found, axis=1) * np.linalg.norm(vectors_N_D, axis=1)
        cosine_N = np.einsum("nd,nd->n", found, vectors_N_D) / lengths_N
        agreement = {judge: float((choose(found) == choose(vectors_N_D)).mean()) for judge, choose in routers.items()}
        by_length = {length: latency[length][name] for length in LENGTHS}
        rows.append(Row(name, by_length, float(cosine_N.min()), float(cosine_N.mean()), agreement))
    return rows


def as_batch(ids: Sequence[int]) -> tuple[Ids, Ids]:
    """One text as ids and mask."""
    row = np.array([ids], dtype=np.int64)
    return row, np.ones_like(row)


def p50_ms(runs: dict[str, Run], length: int) -> dict[str, float]:
    """Median time of each backend for one text of `length` tokens, rounds interleaved."""
    ids = np.random.default_rng(0).integers(1000, 20000, length).tolist()
    batch = as_batch(ids)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS[length] + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run(*batch)
            taken[name].append(1e3 * (time.perf_counter() - began))
    # The first two compile kernels and fill caches.
    return {name: float(np.median(times[2:])) for name, times in taken.items()}


def render(rows: Sequence[Row], backends: Sequence[Backend], questions: int, origin: str) -> str:
    """The section as Markdown."""
    targets = ", ".join(f"{TARGET_MS[length]} ms at {length} tokens" for length in LENGTHS)
    explanation = (
        f"`{PACKAGED_ENCODER}`, one text, one thread: p50 in ms, the median of {min(ROUNDS.values())} to "
        f"{max(ROUNDS.values())} interleaved rounds. Target: {targets}. Fidelity on {questions} training questions of "
        "RouterDC's data: cosine to torch's vectors, and the share that a router of each method, trained on torch's "
        "vectors, sends to the same model. A bundle's export keeps a reduced precision only if its own router sends "
        f"{LEAST_AGREEMENT:.1%} of the questions it is verified on alike."
    )
    columns = [*(f"{length} tokens" for length in LENGTHS), "meets the target", "worst cosine", "mean cosine", *JUDGES]
    lines = [
        "## The sentence encoder on one CPU core: what runs it, and does it route alike",
        "",
        origin,
        "",
        *textwrap.wrap(explanation, 118),
        "",
        f"| backend | {' | '.join(columns)} |",
        "| --- " * (len(columns) + 1) + "|",
        *(row_line(row) for row in rows),
        *(
            f"| {backend.name} | not installed here: `{backend.missing}` {'| ' * (len(columns) - 1)}|"
            for backend in backends
            if backend.run is None
        ),
    ]
    return "\n".join(lines)


def row_line(row: Row) -> str:
    """One backend that was measured."""
    is_in_time = all(row.p50_ms[length] <= TARGET_MS[length] for length in LENGTHS)
    cells = [
        row.name,
        *(f"{row.p50_ms[length]:.1f}" for length in LENGTHS),
        "yes" if is_in_time else "no",
        f"{row.worst_cosine:.5f}",
        f"{row.mean_cosine:.6f}",
        *(f"{row.agreement[judge]:.2%}" for judge in JUDGES),
    ]
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA", "data/routerdc")))
    parser.add_argument("--peers", type=Path, default=Path(".cache/benchmarks/encoder_peers"))
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
