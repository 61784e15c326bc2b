"""Embeddings kept on disk between benchmark runs: the encoder is frozen, so the same text gives the same vector.

One .npz file per list of texts under `.cache/embeddings/`, named after everything that decides its content: the digest
of the encoder's weights, how it cuts text, and the texts themselves. How long embedding them took is kept with them.
"""

import hashlib
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from router_core.publish import publish_file
from router_core.tensors import FloatArray
from router_training.routers.encoder import SentenceEncoder


def cached_embeddings(
    encoder: SentenceEncoder, texts: Sequence[str], *, cache: Path, label: str
) -> tuple[FloatArray, float]:
    """Embed N texts, (N, D), or read them from `cache` where an earlier run left them; and the seconds that took or had
    taken. `label` names the progress."""
    key = hashlib.sha256(encoder.spec.model_dump_json().encode())
    for text in texts:
        key.update(len(text).to_bytes(8, "little") + text.encode("utf-8", "surrogatepass"))
    file = cache / f"{key.hexdigest()[:32]}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            return kept["vectors"], float(kept["took_s"])
    began = time.monotonic()
    embeddings = encoder.embed(texts, progress=lambda steps: tqdm(steps, desc=f"embed {label}", mininterval=5))
    took_s = time.monotonic() - began
    content = io.BytesIO()
    np.savez(content, vectors=embeddings, took_s=np.float64(took_s))
    publish_file(file, content.getvalue())
    return embeddings, took_s
