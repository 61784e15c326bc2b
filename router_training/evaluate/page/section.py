"""What a section of the page is: a heading, a paragraph, pictures and tables, and nothing of HTML.

A section module has `build(judgement) -> Section | None` (None: nothing to show) and a line in sections/__init__.py.
Every number that a picture shows stands in a table too. Text here is plain; html.py escapes all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from router_training.evaluate.page.theme import Theme
from router_training.evaluate.routed_accuracy import Interval

Draw = Callable[[Figure, Theme], None]


@dataclass(frozen=True)
class Picture:
    """A chart: its file stem, what it shows in words, its size in inches, and how it is drawn."""

    name: str
    description: str
    size: tuple[float, float]
    draw: Draw


@dataclass(frozen=True)
class TextTable:
    """A table of text. The first column names its row; `is_prose` keeps the others from being set as figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_prose: bool = False


@dataclass(frozen=True)
class Section:
    """One section."""

    title: str
    lead: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[TextTable, ...] = ()


def percent(value: float) -> str:
    """0.1234 -> 12.34."""
    return f"{100 * value:.2f}"


def points(value: float) -> str:
    """A difference in percentage points, with its sign."""
    # Rounding first: a tiny negative number is no difference, not "-0.00".
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def interval(bounds: Interval, write: Callable[[float], str] = points) -> str:
    """[low, high]."""
    return f"[{write(bounds[0])}, {write(bounds[1])}]"


def short_names(names: Sequence[str], longest: int = 24) -> list[str]:
    """Names without their organisation ("org/model" -> "model") and cut, where they stay distinct; else as they are."""
    bare = [name.rpartition("/")[2] or name for name in names]
    if len(set(bare)) < len(names):
        bare = list(names)
    cut = [name if len(name) <= longest else f"{name[: longest - 1]}…" for name in bare]
    return cut if len(set(cut)) == len(names) else bare
