"""Export a sentence encoder for gateways without torch: an OpenVINO graph, verified on real questions.

Backend and precision were chosen by measurement (benchmarks/encoder_backends.py): of what is fast enough on one CPU
core, bfloat16 in OpenVINO comes nearest to torch; 8-bit arithmetic, there and in ONNX Runtime, gains on short texts at
most and changes many more choices.

Promises: the export is refused unless every question's vector is that of torch (cosine >= 0.9999 in float32); bfloat16
is chosen only if at least 99.5% of the questions are routed to the same model as with torch's vectors, else float32 is
kept and the report says why. The graph file is the same for both. Nothing of this machine is written.

Leaves out: encoders with a default prompt or without a fast tokenizer, which are refused; modules other than a
transformer, pooling and normalisation are traced like these, and left to the verification.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from router_core.bundle import BUNDLED_ENCODER, SentenceEncoderSpec
from router_core.encoder_files import GRAPH_NAME, GRAPH_WEIGHTS_NAME, weights_digest
from router_core.exported_encoder import (
    FACTS_NAME,
    TOKENIZER_NAME,
    ExportedEncoder,
    ExportFacts,
    has_bfloat16,
    import_openvino,
)
from router_core.tensors import FloatArray
from router_training.errors import TrainingError
from router_training.routers.encoder import SentenceEncoder

LEAST_COSINE: Final = 0.9999
LEAST_AGREEMENT: Final = 0.995

Precision = Literal["float32", "bfloat16"]
Choose = Callable[[FloatArray], npt.NDArray[np.intp]]
"""Vectors (N, D) -> the model that each is routed to, (N,)."""


@dataclass(frozen=True)
class Fidelity:
    """How near one precision comes to torch on the questions: cosines of the vectors, share routed alike."""

    worst_cosine: float
    mean_cosine: float
    agreement: float


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how it was verified. `spec` is the bundle's encoder entry."""

    spec: SentenceEncoderSpec
    questions: int
    fidelity: dict[Precision, Fidelity]
    note: str

    def record(self) -> dict[str, JsonValue]:
        """The figures for the bundle's manifest, training.export."""
        measured: dict[str, JsonValue] = {
            precision: {
                "worst_cosine": round(found.worst_cosine, 6),
                "mean_cosine": round(found.mean_cosine, 6),
                "agreement": round(found.agreement, 6),
            }
            for precision, found in self.fidelity.items()
        }
        return {
            "runtime": self.spec.runtime,
            "precision": self.spec.precision,
            "questions": self.questions,
            **measured,
            "note": self.note,
        }


def export_encoder(
    encoder: SentenceEncoder,
    folder: Path,
    questions: Sequence[str],
    choose: Choose,
    *,
    vectors: FloatArray | None = None,
) -> ExportReport:
    """Write the exported encoder to `folder`, which must not exist, and verify it on `questions`.

    `choose` routes vectors; `vectors` are those of `questions` by `encoder`, computed here if not given. Every question
    is encoded once per precision, one core at work: some hundred to a thousand of them serve. Raises TrainingError.
    """
    if not len(questions):
        raise TrainingError("export: there are no questions to verify the exported encoder on")
    _write(encoder, folder)
    reference_N_D = encoder.embed(questions) if vectors is None else vectors
    spec = encoder.spec.model_copy(
        update={
            "name": BUNDLED_ENCODER,
            "runtime": "openvino",
            "precision": "float32",
            "digest": weights_digest(folder),
        }
    )
    fidelity: dict[Precision, Fidelity] = {"float32": _measure(folder, spec, questions, reference_N_D, choose)}
    worst = fidelity["float32"].worst_cosine
    # Written so that NaN fails too.
    if not worst >= LEAST_COSINE:
        raise TrainingError(
            f"export: the exported encoder gives other vectors than torch (worst cosine {worst:.6f} over "
            f"{len(questions)} questions, {LEAST_COSINE} is needed): train without export"
        )
    if not _has_bfloat16():
        note = "float32: this processor has no bfloat16, so it was not tried"
        return ExportReport(spec, len(questions), fidelity, note)
    reduced = spec.model_copy(update={"precision": "bfloat16"})
    fidelity["bfloat16"] = found = _measure(folder, reduced, questions, reference_N_D, choose)
    if found.agreement >= LEAST_AGREEMENT:
        note = f"bfloat16: {found.agreement:.2%} of the questions are routed as by torch"
        return ExportReport(reduced, len(questions), fidelity, note)
    note = f"float32: bfloat16 routes only {found.agreement:.2%} as torch does, {LEAST_AGREEMENT:.1%} are needed"
    return ExportReport(spec, len(questions), fidelity, note)


def _measure(
    folder: Path, spec: SentenceEncoderSpec, questions: Sequence[str], reference_N_D: FloatArray, choose: Choose
) -> Fidelity:
    vectors_N_D, _ = ExportedEncoder(folder, spec).encode(questions)
    lengths_N = np.linalg.norm(vectors_N_D, axis=1) * np.linalg.norm(reference_N_D, axis=1)
    cosine_N = np.einsum("nd,nd->n", vectors_N_D, reference_N_D) / lengths_N
    agreement = (choose(vectors_N_D) == choose(reference_N_D)).mean()
    return Fidelity(float(cosine_N.min()), float(cosine_N.mean()), float(agreement))


def _write(encoder: SentenceEncoder, folder: Path) -> None:
    """The four files of an exported encoder (router_core/exported_encoder.py)."""
    model = encoder.model
    prompt = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    if prompt:
        raise TrainingError(f"export: the encoder puts the prompt {prompt!r} before every text, which is not supported")
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None or model.tokenizer.pad_token_id is None:
        raise TrainingError("export: the encoder has no fast tokenizer with a padding token: train without export")
    facts = ExportFacts(pad_id=model.tokenizer.pad_token_id, pooling=_pooling(model), normalised=_is_normalised(model))
    folder.mkdir(parents=True)
    (folder / FACTS_NAME).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
    tokenizer.save(str(folder / TOKENIZER_NAME))
    _write_graph(model, folder)


def _write_graph(model: Any, folder: Path) -> None:
    """Trace the model on the CPU, without dropout, and write graph.xml and graph.weights."""
    try:
        openvino = import_openvino()
        with _on_cpu(model):
            graph = _convert(_PooledVectors(model))
    except ModuleNotFoundError as error:
        raise TrainingError(f"export: {error}; pip install 'routerdc-gateway[train]'") from error
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(f"export: the encoder cannot be converted ({reason}): train without export") from error
    # The names count every node that this process ever made; the same encoder is to give the same file.
    graph.set_friendly_name("encoder")
    for place, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"node_{place}")
    openvino.save_model(graph, str(folder / GRAPH_NAME), compress_to_fp16=False)
    (folder / GRAPH_NAME).with_suffix(".bin").rename(folder / GRAPH_WEIGHTS_NAME)


def _convert(module: nn.Module) -> Any:
    """The OpenVINO graph of a module of (ids, mask)."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    # openvino.convert_model does the same, and reports the conversion to its vendor unless the machine opted out.
    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of every Python branch it freezes; the verification on real questions judges the result.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(module, example_input=(ids, mask))
        # `decoder` is read until the end of the conversion, and must live as long.
        return frontend.convert(frontend.load(decoder))


class _PooledVectors(nn.Module):
    """The modules of a sentence-transformers model, from ids and mask to vectors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.parts = nn.ModuleList(model)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        features: dict[str, Tensor] = {"input_ids": ids, "attention_mask": mask}
        for part in self.parts:
            features = part(features)
        return features["sentence_embedding"]


@contextlib.contextmanager
def _on_cpu(model: Any) -> Iterator[None]:
    device = model.device
    model.to("cpu").eval()
    try:
        yield
    finally:
        model.to(device)


def _pooling(model: Any) -> str:
    modes = [getattr(part, "pooling_mode", None) for part in model]
    return next((str(mode) for mode in modes if mode), "none")


def _is_normalised(model: Any) -> bool:
    return any(type(part).__name__ == "Normalize" for part in model)


def _has_bfloat16() -> bool:
    return has_bfloat16(import_openvino().Core())
