from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cached_embeddings import cached_embeddings
from router_core.manifest import SentenceEncoderSpec


class Counting:
    """An encoder whose vectors are the lengths of the texts; counts how often it is asked."""

    spec = SentenceEncoderSpec(name="e", digest="0" * 64, dimensions=1, max_tokens=8)

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, texts: list[str], progress: Any) -> Any:
        self.asked += 1
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_texts_are_embedded_once_and_the_time_it_took_is_kept(tmp_path: Path) -> None:
    encoder: Any = Counting()
    first, took_s = cached_embeddings(encoder, ["a", "bcd"], cache=tmp_path, label="x")
    again, took_again_s = cached_embeddings(encoder, ["a", "bcd"], cache=tmp_path, label="x")
    assert encoder.asked == 1
    assert first.tolist() == again.tolist() == [[1], [3]]
    assert took_s == took_again_s > 0
    cached_embeddings(encoder, ["a", "bc"], cache=tmp_path, label="x")
    assert encoder.asked == 2
