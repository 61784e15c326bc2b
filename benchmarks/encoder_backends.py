"""What runs a sentence encoder fastest on one CPU core, and does it still route alike: a section of docs/results.md.

    ROUTERDC_DATA=DIR python -m benchmarks.encoder_backends     (DIR holds train/; default data/routerdc)

all-MiniLM-L6-v2 by torch, by what this project exports, and by the rivals that were passed over. These are not in the
locked environment; without them their rows say so:

    pip install --target .cache/benchmarks/encoder_peers --no-deps onnxruntime==1.32.0 onnx==1.23.2 protobuf==7.36.2 \\
      ml_dtypes==0.6.0 flatbuffers==25.12.19 nncf==3.4.0 pydot==4.0.1 tabulate==0.10.0

One process on one core; token ids are given, so no tokenizer is timed; rounds are interleaved, so that a disturbance
hits every row. Fidelity is measured on training questions of RouterDC's data: cosine to torch's vectors, and the share
of questions for which a ridge regression of credit, fitted on torch's vectors, picks the same model.

Leaves out: GPUs, and batches, whose gain on one core is small (see MOST_TOKENS in router_core/exported_encoder.py).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.encoder_peers import Backend, Ids, Run, build_backends
from benchmarks.report import provenance, write_section
from benchmarks.sides import ROUTERDC_TASKS
from router_core.encoder_files import PACKAGED_ENCODER
from router_core.tensors import FloatArray
from router_training.routers.dataset import DataFile, RouterData, read_router_data
from router_training.routers.encoder import SentenceEncoder, load_encoder
from router_training.routers.encoder_export import LEAST_AGREEMENT, export_encoder
from router_training.routers.methods.base import FitData, Fitted, quality_of
from router_training.routers.methods.ridge import fit

MAX_TOKENS = 128
LENGTHS = (16, 64, 256)
TARGET_MS = {16: 5, 64: 10, 256: 40}
ROUNDS = {16: 100, 64: 60, 256: 30}
QUESTIONS_PER_TASK = 200
ALPHA = 100.0
"""The weakest penalty of the ridge method's grid: of its settings, the one whose choices change most easily."""


@dataclass(frozen=True)
class Row:
    """What was measured of one backend: p50 by number of tokens, and its fidelity."""

    name: str
    p50_ms: dict[int, float]
    worst_cosine: float
    mean_cosine: float
    agreement: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every backend and write the section."""
    args = _parser().parse_args(arguments)
    files = [DataFile(args.data / "train" / task.train, task.metric) for task in ROUTERDC_TASKS]
    if not all(file.path.is_file() for file in files):
        print(f"{args.data}: lacks RouterDC's train/*.json.gz; set ROUTERDC_DATA to their folder", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    began = time.monotonic()
    encoder = load_encoder(PACKAGED_ENCODER, max_tokens=MAX_TOKENS, truncation_side="left")
    data = sample(read_router_data(files))
    vectors = encoder.embed(data.questions)
    router = fit_router(data, vectors)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "exported"
        # A few questions: the table below is the verification.
        export_encoder(encoder, exported, data.questions[:8], lambda some: choices(router, data, some))
        backends = build_backends(encoder, exported, Path(scratch), args.peers)
        rows = measure(backends, encoder, data, router, vectors)
    section = render(rows, backends, len(data), time.monotonic() - began)
    if args.results:
        write_section(args.results, "encoder_backends", section)
    print(section)
    return 0


def sample(data: RouterData) -> RouterData:
    """At most QUESTIONS_PER_TASK questions of each task, spread evenly over its rows."""
    from benchmarks.sides import take_rows

    tasks = np.array(data.tasks)
    kept = []
    for task in sorted(set(data.tasks)):
        rows = np.flatnonzero(tasks == task)
        kept.append(rows[:: max(1, len(rows) // QUESTIONS_PER_TASK)][:QUESTIONS_PER_TASK])
    return take_rows(data, np.concatenate(kept))


def fit_router(data: RouterData, vectors_N_D: FloatArray) -> Fitted:
    """The ridge regression that judges whether two encoders route alike."""
    return fit(FitData(vectors_N_D, data.credit, data.scores, data.tasks), alpha=ALPHA)


def choices(router: Fitted, data: RouterData, vectors_N_D: FloatArray) -> npt.NDArray[np.intp]:
    """The model (N,) that each vector is routed to."""
    return quality_of(router, vectors_N_D, len(data.models)).argmax(axis=1)


def measure(
    backends: Sequence[Backend], encoder: SentenceEncoder, data: RouterData, router: Fitted, vectors_N_D: FloatArray
) -> list[Row]:
    """A row for every backend that is installed."""
    runs = {backend.name: backend.run for backend in backends if backend.run is not None}
    latency = {length: p50_ms(runs, length) for length in LENGTHS}
    ids = [encoder.model.tokenizer(text, truncation=True, max_length=MAX_TOKENS).input_ids for text in data.questions]
    torch_choice = choices(router, data, vectors_N_D)
    rows = []
    for name, run in runs.items():
        found = np.concatenate([run(*as_batch(row)) for row in ids])
        lengths_N = np.linalg.norm(found, axis=1) * np.linalg.norm(vectors_N_D, axis=1)
        cosine_N = np.einsum("nd,nd->n", found, vectors_N_D) / lengths_N
        agreement = float((choices(router, data, found) == torch_choice).mean())
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


def render(rows: Sequence[Row], backends: Sequence[Backend], questions: int, seconds: float) -> str:
    """The section as Markdown."""
    head = " | ".join(f"{length} tokens" for length in LENGTHS)
    lines = [
        "## The sentence encoder on one CPU core: what runs it, and does it route alike",
        "",
        provenance("python -m benchmarks.encoder_backends") + f" It took {seconds:.0f} s.",
        "",
        f"`{PACKAGED_ENCODER}`, one text, one thread; median of {min(ROUNDS.values())} to {max(ROUNDS.values())}",
        "interleaved rounds. Cosine to torch's vectors and agreement with torch's routing (ridge regression, alpha",
        f"{ALPHA:g}) on {questions} training questions of RouterDC's data. A reduced precision is exported only if at",
        f"least {LEAST_AGREEMENT:.1%} of the questions are routed alike. Target: "
        + ", ".join(f"{TARGET_MS[length]} ms at {length} tokens" for length in LENGTHS)
        + ".",
        "",
        f"| p50, ms | {head} | meets the target | worst cosine | mean cosine | routed alike |",
        "| --- " * (len(LENGTHS) + 5) + "|",
        *map(row_line, rows),
        *(
            f"| {backend.name} | not installed here: `{backend.missing}` {'| ' * (len(LENGTHS) + 3)}|"
            for backend in backends
            if backend.run is None
        ),
    ]
    return "\n".join(lines)


def row_line(row: Row) -> str:
    """One backend that was measured."""
    times = " | ".join(f"{row.p50_ms[length]:.1f}" for length in LENGTHS)
    met = "yes" if all(row.p50_ms[length] <= TARGET_MS[length] for length in LENGTHS) else "no"
    return f"| {row.name} | {times} | {met} | {row.worst_cosine:.5f} | {row.mean_cosine:.6f} | {100 * row.agreement:.2f}% |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ROUTERDC_DATA", "data/routerdc")))
    parser.add_argument("--peers", type=Path, default=Path(".cache/benchmarks/encoder_peers"))
    parser.add_argument("--results", type=Path, help="Page to write the section to, as docs/results.md.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
