"""A sentence encoder exported to an OpenVINO graph, run on the CPU without torch: what most gateways use.

The folder `encoder/` of a bundle whose manifest says runtime "openvino":

    graph.xml, graph.weights   ids and mask (int64, B x T, both dynamic) -> vectors (B, D), pooled and normalised inside
    tokenizer.json             of the `tokenizers` library
    encoder.json               {"pad_id", "pooling", "normalised"}: what pads a batch; the rest is for people

Promise: on one machine, a text's vector depends on its neighbours in a batch only by rounding. One thread of the
processor by default; texts run in groups of like length, so padding stays small. Needs the extra [encoder] (openvino,
tokenizers), imported when an encoder is loaded.

Leaves out: exporting (router_training/routers/encoder_export.py), and safety of threads: call one encoder from one.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_core.encoder_files import GRAPH_NAME, GRAPH_WEIGHTS_NAME
from router_core.encoder_text import cut_text, length_groups, share_lost
from router_core.errors import BundleError
from router_core.manifest import SentenceEncoderSpec
from router_core.tensors import FloatArray

TOKENIZER_NAME: Final = "tokenizer.json"
FACTS_NAME: Final = "encoder.json"
_TELEMETRY: Final = "openvino_telemetry"

MOST_TEXTS: Final = 16
MOST_TOKENS: Final = 1024
"""Beyond this many texts or padded tokens at once a CPU core gains nothing, and who waits waits longer."""


class ExportFacts(BaseModel):
    """encoder.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pad_id: int = Field(ge=0)
    pooling: str
    normalised: bool


class ExportedEncoder:
    """The exported encoder in `folder`, ready to run.

    Raises BundleError for files that do not fit together or the spec, ModuleNotFoundError without the libraries.
    """

    def __init__(self, folder: Path, spec: SentenceEncoderSpec, *, threads: int = 1) -> None:
        self.spec = spec
        self._pad_id = _read_facts(folder / FACTS_NAME).pad_id
        self._tokenizer = _load_tokenizer(folder / TOKENIZER_NAME, spec)
        self._request = _compile(folder, spec, threads)
        given = self._run([self._read("warm-up")[0]]).shape[1]
        if given != spec.dimensions:
            raise BundleError(f"{folder}: the encoder gives {given} dimensions, the bundle scores {spec.dimensions}")

    def encode(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Vectors (B, D) and the share of each text that was cut off, (B,)."""
        rows, lost = zip(*(self._read(text) for text in texts), strict=True) if texts else ((), ())
        vectors_B_D = np.empty((len(texts), self.spec.dimensions), dtype=np.float32)
        for group in length_groups([len(row) for row in rows], most=MOST_TEXTS, most_padded=MOST_TOKENS):
            vectors_B_D[group] = self._run([rows[place] for place in group])
        return vectors_B_D, np.array(lost, dtype=np.float32)

    def _read(self, text: str) -> tuple[list[int], float]:
        """The token ids of a text, as many as the encoder reads, and the share of the text that they leave out."""
        cut, kept = cut_text(text, max_tokens=self.spec.max_tokens, truncation_side=self.spec.truncation_side)
        encoding = self._tokenizer.encode(cut)
        special = self._tokenizer.num_special_tokens_to_add(False)
        read = len(encoding.ids) - special
        beyond = sum(len(part.ids) - special for part in encoding.overflowing)
        return encoding.ids, share_lost(read + beyond, read, kept)

    def _run(self, rows: Sequence[list[int]]) -> FloatArray:
        length = _rounded(max(len(row) for row in rows), self.spec.max_tokens)
        ids_B_T = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask_B_T = np.zeros((len(rows), length), dtype=np.int64)
        for place, row in enumerate(rows):
            ids_B_T[place, : len(row)] = row
            mask_B_T[place, : len(row)] = 1
        vectors: FloatArray = self._request.infer([ids_B_T, mask_B_T], share_inputs=True)[0]
        return vectors


def _rounded(length: int, most: int) -> int:
    """Up to the next of eight steps an octave: the runtime compiles, and keeps, kernels for every length it meets."""
    step = 1 << max(0, (length - 1).bit_length() - 4)
    return max(length, min(-(-length // step) * step, most))


def _read_facts(path: Path) -> ExportFacts:
    try:
        return ExportFacts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path}: cannot be read as the facts of an exported encoder: {_one_line(error)}") from error


def _load_tokenizer(path: Path, spec: SentenceEncoderSpec) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise BundleError(f"{path}: not a tokenizer: {_one_line(error)}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_tokens, direction=spec.truncation_side)
    return tokenizer


def _compile(folder: Path, spec: SentenceEncoderSpec, threads: int) -> Any:
    try:
        core = import_openvino().Core()
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    precision = "bf16" if spec.precision == "bfloat16" and has_bfloat16(core) else "f32"
    try:
        return compile_graph(
            core, folder / GRAPH_NAME, folder / GRAPH_WEIGHTS_NAME, precision=precision, threads=threads
        )
    except RuntimeError as error:
        raise BundleError(f"{folder / GRAPH_NAME}: cannot be run: {_one_line(error)}") from error


def compile_graph(core: Any, graph: Path, weights: Path, *, precision: str, threads: int) -> Any:
    """An openvino.InferRequest for a graph; `core` is an openvino.Core, `precision` "f32" or "bf16".

    Raises RuntimeError for files that are no graph.
    """
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned, every worker process would run on the same core.
        "ENABLE_CPU_PINNING": False,
        # Said outright: by itself the runtime takes bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": precision,
    }
    return core.compile_model(core.read_model(str(graph), str(weights)), "CPU", options).create_infer_request()


def import_openvino() -> Any:
    """The package openvino, imported without its telemetry.

    By itself its import reports to its vendor and writes an identity to the home folder, unless the user opted out.
    """
    before = {name: module for name, module in sys.modules.items() if name == _TELEMETRY}
    # Python's way to say that a module cannot be imported; openvino then takes a stub of its own.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
        sys.modules |= before


def has_bfloat16(core: Any) -> bool:
    """True if this processor computes in bfloat16. `core` is an openvino.Core."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{error}: the bundle's encoder runs on openvino; pip install 'routerdc-gateway[encoder]'", name=error.name
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
