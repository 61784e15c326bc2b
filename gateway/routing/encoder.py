"""The query encoder: the sentence-transformers model that a bundle names, run exactly as its trainer ran it.

The only file of the gateway that imports torch and sentence-transformers, and only inside `load_encoder`. The bundle's
`max_tokens` and `truncation_side` are applied to the tokenizer, and the digest of the weights must be the bundle's:
with any other encoder the learned LLM embeddings mean nothing.

Leaves out: threads and queues (batching.py). `load_encoder` and what it returns are to be called in one worker thread.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from gateway.routing.batching import EncodeFunction, FloatArray
from gateway.settings import EncoderSettings
from router_core.bundle import RouterBundle
from router_core.encoder_files import locate_encoder, weights_digest
from router_core.errors import BundleError

CHARACTERS_PER_TOKEN = 32
"""A text is cut to this many characters per token of `max_tokens` before it is tokenised, so
that any text takes bounded time. Prose has about 4 characters a token and code about 3; 32 leaves what the tokenizer
keeps untouched unless the kept part is mostly blanks or words of dozens of letters."""


def cut_ask(text: str, *, max_tokens: int, truncation_side: Literal["left", "right"]) -> str:
    """At most `max_tokens` * CHARACTERS_PER_TOKEN characters of `text`: the end if the left is cut off, else the start.

    A longer text loses the blanks around it first, or they could fill the whole cut. Halves of surrogate pairs, which
    JSON can carry and no tokenizer takes, become question marks.
    """
    limit = max_tokens * CHARACTERS_PER_TOKEN
    if len(text) > limit:
        text = text.strip()
        text = text[-limit:] if truncation_side == "left" else text[:limit]
    return text.encode("utf-8", "replace").decode("utf-8")


def load_encoder(bundle: RouterBundle, settings: EncoderSettings) -> EncodeFunction:
    """Load, verify and warm up the encoder of `bundle`.

    Raises BundleError if its weights or dimensions are not the bundle's. What else can go wrong (library or folder
    missing, out of memory, no such device) is raised as it comes.
    """
    spec = bundle.encoder
    folder = bundle.encoder_path or _located(spec.name)
    digest = weights_digest(folder)
    if digest != spec.digest:
        raise BundleError(
            f"{bundle.path}: encoder {spec.name!r} here has the weights {digest[:12]}..., the bundle was trained with "
            f"{spec.digest[:12]}...: install that encoder, or train the bundle again"
        )

    from huggingface_hub.utils.tqdm import disable_progress_bars

    # Before the next import, which reads it: a server's standard error is for log lines.
    disable_progress_bars()
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(settings.threads)
    model = SentenceTransformer(str(folder), device=settings.device, model_kwargs={"use_safetensors": True})
    model.max_seq_length = spec.max_tokens
    model.tokenizer.truncation_side = spec.truncation_side

    def encode(texts: Sequence[str]) -> FloatArray:
        cut = [cut_ask(text, max_tokens=spec.max_tokens, truncation_side=spec.truncation_side) for text in texts]
        rows = model.encode(cut, batch_size=settings.max_batch, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(rows, dtype=np.float32)

    shape = encode(["warm-up"]).shape
    if shape != (1, spec.dimensions):
        raise BundleError(f"encoder {spec.name!r} gives {shape[1]} dimensions, the bundle scores {spec.dimensions}")
    return encode


def _located(name: str) -> Path:
    """The folder of an encoder outside the bundle; a hub name is fetched unless it is in the hub's cache already."""
    try:
        located = locate_encoder(name)
    except BundleError as error:
        # The bundle is fine, the package is missing here: the policy then starts without an encoder.
        raise ModuleNotFoundError(str(error)) from error
    if Path(located).is_dir():
        return Path(located)

    from huggingface_hub import snapshot_download

    return Path(snapshot_download(located, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"]))
