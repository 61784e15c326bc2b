"""How the charts look, in light and in dark: Okabe and Ito's colours, which people of any colour vision tell apart.

Okabe, Ito: "Color Universal Design", 2008. With more models than colours a model is told by its marker as well.

Leaves out: pyplot, whose state is global; a chart is drawn on a Figure of its own.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

DPI = 180
WIDTH = 6.4
"""Inches. Narrow, so that labels stay legible on a phone."""

_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#999999")
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "h")


@dataclass(frozen=True)
class Theme:
    """Colours of one appearance. `ink` is also the router's own colour: it belongs to no model."""

    name: str
    paper: str
    ink: str
    faint: str
    grid: str
    strong: str
    """The far end of heat maps, which start at `paper`."""

    def color(self, index: int) -> str:
        """Of model or task number `index`."""
        return _OKABE_ITO[index % len(_OKABE_ITO)]

    @property
    def shades(self) -> LinearSegmentedColormap:
        """Colour map of heat maps."""
        return LinearSegmentedColormap.from_list(self.name, [self.paper, self.strong])

    def marker(self, index: int) -> str:
        """Of model or task number `index`; the first eight colours share one marker, the next eight another."""
        return _MARKERS[(index // len(_OKABE_ITO)) % len(_MARKERS)]


LIGHT = Theme("light", paper="#ffffff", ink="#1b1f24", faint="#5b636d", grid="#e3e6ea", strong="#0072b2")
DARK = Theme("dark", paper="#171b21", ink="#e8eaed", faint="#a3abb6", grid="#2d343d", strong="#56b4e9")
THEMES: Mapping[str, Theme] = MappingProxyType({theme.name: theme for theme in (LIGHT, DARK)})


def render_png(draw: Callable[[Figure, Theme], None], size: tuple[float, float], theme: Theme) -> bytes:
    """Draw a chart of `size` inches. The same data gives the same bytes."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own matplotlibrc is not part of the data
        matplotlib.rcParams.update(_settings(theme))
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        draw(figure, theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _settings(theme: Theme) -> Any:  # matplotlib's stubs list every key as a literal
    return {
        "font.size": 10.5,
        "font.family": "DejaVu Sans",
        "text.parse_math": False,  # a model may be called $x$
        "text.color": theme.ink,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "lines.linewidth": 2.0,
    }
