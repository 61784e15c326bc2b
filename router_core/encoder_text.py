"""What of a text a sentence encoder reads, how much of it that leaves out, and which texts should run together.

Shared by everything that runs a sentence encoder, so that the trainer and the gateway read, and miss, the same.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from router_core.tensors import FloatArray

CHARACTERS_PER_TOKEN = 32
"""A text is cut to this many characters per token of `max_tokens` before it is tokenised, so
that any text takes bounded time. Prose has about 4 characters a token and code about 3; 32 leaves what the tokenizer
keeps untouched unless the kept part is mostly blanks or words of dozens of letters."""


def cut_text(text: str, *, max_tokens: int, truncation_side: Literal["left", "right"]) -> tuple[str, float]:
    """At most `max_tokens` * CHARACTERS_PER_TOKEN characters of `text`, and the share of it that is kept, 0..1.

    The end is kept if the left is cut off, else the start. A longer text loses the blanks around it first, or they
    could fill the whole cut; they do not count as lost. Halves of surrogate pairs, which JSON can carry and no
    tokenizer takes, become question marks.
    """
    limit = max_tokens * CHARACTERS_PER_TOKEN
    kept = 1.0
    if len(text) > limit:
        text = text.strip()
        kept = limit / max(len(text), limit)
        text = text[-limit:] if truncation_side == "left" else text[:limit]
    return text.encode("utf-8", "replace").decode("utf-8"), kept


def share_lost(tokens: int, read: int, kept: float) -> float:
    """The share of a text, 0..1, that is lost when `read` of the `tokens` tokens of its `kept` share are read."""
    return 1.0 - kept * (min(read, tokens) / tokens if tokens else 1.0)


def lost_shares(tokenizer: Any, cut: Sequence[tuple[str, float]], max_tokens: int) -> FloatArray:
    """The share (B,) that is lost of each of the B results of `cut_text`; `tokenizer` is one of transformers."""
    if not cut:
        return np.empty(0, dtype=np.float32)
    room = max_tokens - tokenizer.num_special_tokens_to_add(pair=False)
    # verbose: or it would warn of texts that are longer than the model reads, which is what is asked here.
    rows = tokenizer(
        [text for text, _ in cut], add_special_tokens=False, truncation=False, padding=False, verbose=False
    )
    lost = [share_lost(len(row), room, kept) for row, (_, kept) in zip(rows["input_ids"], cut, strict=True)]
    return np.array(lost, dtype=np.float32)


def length_groups(lengths: Sequence[int], *, most: int, most_padded: int | None = None) -> list[list[int]]:
    """Which texts, given by their lengths, to run together: lists of their places, the shortest texts first.

    A group has at most `most` texts, and padding to its longest never more than doubles one of them; so padding is
    less than half of what runs. It makes at most `most_padded` in all, unless one text alone is longer.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        length = lengths[place]
        fits = bool(groups) and len(groups[-1]) < most and length <= 2 * max(lengths[groups[-1][0]], 1)
        if fits and (most_padded is None or (len(groups[-1]) + 1) * length <= most_padded):
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups
