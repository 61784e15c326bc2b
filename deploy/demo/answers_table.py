"""The table that `make demo` prints: a row an answered query, cells wrapped, at most 110 columns wide.

Rows come one at a time, as the answers do. Leaves out: colour, and terminals that are narrower or without UTF-8.
"""

import textwrap
from dataclasses import dataclass

COLUMNS = (("query", 38), ("model", 15), ("confidence", 10), ("overhead", 8), ("answer", 29))
GAP = "  "
MOST_LINES = 4


@dataclass(frozen=True)
class Row:
    """One answered query. `confidence` is the router's, None when it did not decide; `overhead_ms` the gateway's."""

    query: str
    model: str
    reason: str
    confidence: float | None
    overhead_ms: float
    answer: str


def header() -> str:
    """Column titles over a rule."""
    titles = GAP.join(_aligned(title, title, width) for title, width in COLUMNS)
    return f"{titles.rstrip()}\n{'─' * len(titles)}"


def render(row: Row) -> str:
    """The row's lines, with a blank one after them."""
    model = row.model if row.reason == "routed" else f"{row.model} ({row.reason})"
    confidence = "-" if row.confidence is None else f"{row.confidence:.2f}"
    cells = [row.query, model, confidence, f"{row.overhead_ms:.1f} ms", row.answer or "(nothing)"]
    columns = [(title, width, _wrapped(cell, width)) for cell, (title, width) in zip(cells, COLUMNS, strict=True)]
    height = max(len(lines) for _, _, lines in columns)
    out = []
    for i in range(height):
        line = GAP.join(_aligned(title, lines[i] if i < len(lines) else "", width) for title, width, lines in columns)
        out.append(line.rstrip())
    return "\n".join([*out, ""])


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(" ".join(text.split()), width, max_lines=MOST_LINES, placeholder=" …")
    return lines or [""]


def _aligned(title: str, text: str, width: int) -> str:
    return text.rjust(width) if title in {"confidence", "overhead"} else text.ljust(width)
