"""The ways to run a sentence encoder on a CPU that benchmarks/encoder_backends.py compares, each on one thread.

A backend is a function of ids and mask (int64, B x T) that gives vectors (B, D). What this project ships is exported by
its own code; ONNX Runtime and the 8-bit weights of OpenVINO are made with those projects' own tools.
"""

import contextlib
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router_core.encoder_files import GRAPH_NAME, GRAPH_WEIGHTS_NAME
from router_core.exported_encoder import compile_graph, import_openvino
from router_core.tensors import FloatArray
from router_training.routers.encoder import SentenceEncoder

Ids = npt.NDArray[np.int64]
Run = Callable[[Ids, Ids], FloatArray]


@dataclass(frozen=True)
class Backend:
    """One row of the table. `run` is None where `missing` says what is not installed."""

    name: str
    run: Run | None
    missing: str = ""


def build_backends(encoder: SentenceEncoder, exported: Path, scratch: Path, peers: Path) -> list[Backend]:
    """Every backend: torch first, then what this project exported to `exported`, then others made in `scratch`.

    `peers` is a folder of packages that may be absent.
    """
    # At the end: what is installed here goes before it.
    sys.path.append(str(peers))
    # nncf reports its use by the same package as openvino.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    graph = exported / GRAPH_NAME, exported / GRAPH_WEIGHTS_NAME
    onnx = scratch / "encoder.onnx"
    makers: list[tuple[str, Callable[[], Run]]] = [
        ("torch, float32", lambda: run_torch(encoder)),
        ("OpenVINO, float32", lambda: run_openvino(*graph, "f32")),
        ("OpenVINO, bfloat16", lambda: run_openvino(*graph, "bf16")),
        ("OpenVINO, 8-bit weights", lambda: run_openvino(*compress_weights(graph, scratch), "f32")),
        ("ONNX Runtime, float32", lambda: run_onnx(export_onnx(encoder, onnx))),
        ("ONNX Runtime, dynamic 8-bit", lambda: run_onnx(quantize_onnx(onnx, scratch, per_channel=False))),
        ("ONNX Runtime, dynamic 8-bit per channel", lambda: run_onnx(quantize_onnx(onnx, scratch, per_channel=True))),
    ]
    return [_made(name, make) for name, make in makers]


def _made(name: str, make: Callable[[], Run]) -> Backend:
    try:
        with _quiet():
            return Backend(name, make())
    except ImportError as error:
        return Backend(name, None, missing=error.name or str(error))


def run_torch(encoder: SentenceEncoder) -> Run:
    """sentence-transformers on one thread."""
    import torch

    torch.set_num_threads(1)

    def run(ids: Ids, mask: Ids) -> FloatArray:
        with torch.inference_mode():
            features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            vectors: FloatArray = encoder.model(features)["sentence_embedding"].numpy()
            return vectors

    return run


def run_openvino(graph: Path, weights: Path, precision: str) -> Run:
    """An OpenVINO graph, compiled as the gateway compiles it."""
    request = compile_graph(import_openvino().Core(), graph, weights, precision=precision, threads=1)

    def run(ids: Ids, mask: Ids) -> FloatArray:
        vectors: FloatArray = request.infer([ids, mask], share_inputs=True)[0]
        return vectors

    return run


def compress_weights(graph: tuple[Path, Path], scratch: Path) -> tuple[Path, Path]:
    """The graph with weights in 8 bits, by NNCF, OpenVINO's own tool; OpenVINO then rounds activations too."""
    nncf: Any = importlib.import_module("nncf")
    openvino = import_openvino()
    model = openvino.Core().read_model(*map(str, graph))
    compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(compressed, str(scratch / "compressed.xml"), compress_to_fp16=False)
    return scratch / "compressed.xml", scratch / "compressed.bin"


def export_onnx(encoder: SentenceEncoder, path: Path) -> Path:
    """The encoder as an ONNX graph with dynamic batch and length, by torch's exporter."""
    import torch

    # Named here, so that a row can say what is missing.
    importlib.import_module("onnxruntime")
    importlib.import_module("onnx")

    class Vectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(encoder.model)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            features = {"input_ids": ids, "attention_mask": mask}
            for part in self.parts:
                features = part(features)
            return features["sentence_embedding"]

    ids = torch.ones((2, 8), dtype=torch.int64)
    dynamic = {0: "batch", 1: "length"}
    torch.onnx.export(
        Vectors().eval(),
        (ids, ids.clone()),
        str(path),
        input_names=["ids", "mask"],
        output_names=["vectors"],
        dynamic_axes={"ids": dynamic, "mask": dynamic, "vectors": {0: "batch"}},
        dynamo=False,
    )
    return path


def quantize_onnx(onnx: Path, scratch: Path, *, per_channel: bool) -> Path:
    """ONNX Runtime's dynamic quantisation: 8-bit weights, and activations rounded per tensor as they come."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    path = scratch / f"quantized_{per_channel}.onnx"
    quantization.quantize_dynamic(
        str(onnx), str(path), weight_type=quantization.QuantType.QInt8, per_channel=per_channel
    )
    return path


def run_onnx(path: Path) -> Run:
    """An ONNX graph in ONNX Runtime, on one thread that does not spin."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(ids: Ids, mask: Ids) -> FloatArray:
        vectors: FloatArray = session.run(None, {"ids": ids, "mask": mask})[0]
        return vectors

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk a lot; what they raise still comes through."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
