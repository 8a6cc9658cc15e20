"""Still pictures for papers: PNG at 200 dpi and SVG with text left as text."""

import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1d5b8f", "#a8481c", "#2a7554", "#75489a", "#806000", "#a62b5a")
MUTED = "#666666"
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fedpeft-secure",
}

Drawing = Callable[[], Figure | None]
"""Draws one figure; None where there is nothing to draw."""


def stills(drawings: Mapping[str, Drawing]) -> dict[str, bytes]:
    """Every figure that there is something for, as file name and content."""
    found: dict[str, bytes] = {}
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                found[f"{name}.png"] = _saved(figure, "png")
                found[f"{name}.svg"] = _saved(figure, "svg")
    return found


def blank_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = BytesIO()
    write: Callable[..., None] = figure.savefig
    write(buffer, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()
