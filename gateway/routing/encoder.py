"""The query encoder that a bundle names, run exactly as its trainer ran it.

An exported encoder, which the bundle carries, runs on the CPU with openvino alone (router_core/exported_encoder.py).
Any other is a sentence-transformers model and needs torch: this is the only file of the gateway that imports it, and
only inside `load_encoder`. The bundle's `max_tokens` and `truncation_side` are applied to the tokenizer, and the digest
of the weights must be the bundle's: with any other encoder what the bundle learned means nothing.

Only the encoder process runs this (encoder_process.py): `load_encoder` and what it returns, in one thread. Leaves out
queues (batching.py).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gateway.routing.batching import EncodeFunction
from gateway.settings import EncoderSettings
from router_core.bundle import RouterBundle, SentenceEncoderSpec
from router_core.encoder_files import locate_encoder, weights_digest
from router_core.encoder_text import cut_text, lost_shares
from router_core.errors import BundleError
from router_core.exported_encoder import ExportedEncoder
from router_core.tensors import FloatArray


def load_encoder(bundle: RouterBundle, settings: EncoderSettings) -> EncodeFunction:
    """Load, verify and warm up the encoder of `bundle`.

    Raises BundleError if its weights, its dimensions or its runtime do not fit. What else can go wrong (library or
    folder missing, out of memory, no such device) is raised as it comes.
    """
    spec = bundle.encoder
    if not isinstance(spec, SentenceEncoderSpec):
        raise BundleError(f"{bundle.path}: encoder {spec.name!r} has nothing to load: it is in the bundle's tensors")
    folder = bundle.encoder_path or _located(spec.name)
    digest = weights_digest(folder)
    if digest != spec.digest:
        raise BundleError(
            f"{bundle.path}: encoder {spec.name!r} here has the weights {digest[:12]}..., the bundle was trained with "
            f"{spec.digest[:12]}...: install that encoder, or train the bundle again"
        )
    if spec.runtime == "openvino":
        if settings.device != "cpu":
            raise BundleError(
                f"{bundle.path}: its encoder was exported for the CPU, but the setting encoder.device is "
                f"{settings.device!r}: set it to 'cpu', or train the bundle without export"
            )
        return ExportedEncoder(folder, spec, threads=settings.threads).encode
    return _load_torch(folder, spec, settings)


def _load_torch(folder: Path, spec: SentenceEncoderSpec, settings: EncoderSettings) -> EncodeFunction:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # Before the next import, which reads it: a server's standard error is for log lines.
    disable_progress_bars()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(settings.threads)
    model = SentenceTransformer(str(folder), device=settings.device, model_kwargs={"use_safetensors": True})
    model.max_seq_length = spec.max_tokens
    model.tokenizer.truncation_side = spec.truncation_side

    def encode(texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        cut = [cut_text(text, max_tokens=spec.max_tokens, truncation_side=spec.truncation_side) for text in texts]
        rows = model.encode(
            [text for text, _ in cut], batch_size=settings.max_batch, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(rows, dtype=np.float32), lost_shares(model.tokenizer, cut, spec.max_tokens)

    shape = encode(["warm-up"])[0].shape
    if shape != (1, spec.dimensions):
        raise BundleError(f"encoder {spec.name!r} gives {shape[1]} dimensions, the bundle scores {spec.dimensions}")
    return encode


def _located(name: str) -> Path:
    """The folder of an encoder outside the bundle; a hub name is fetched unless it is in the hub's cache already."""
    located = locate_encoder(name)
    if Path(located).is_dir():
        return Path(located)

    from huggingface_hub import snapshot_download

    return Path(snapshot_download(located, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"]))
