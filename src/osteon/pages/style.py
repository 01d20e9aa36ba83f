"""Style of every figure: colours the colour-blind can tell apart, Matplotlib's object API, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from osteon.pages.html import data_uri
from osteon.run import atomic_path

P = ParamSpec("P")
T = TypeVar("T")

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "orange": "#E69F00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
}
"""The palette of Okabe and Ito, *Color Universal Design*, 2008; yellow last, since it is faint on white."""

NEGATIVE = COLOURS["blue"]
POSITIVE = COLOURS["vermillion"]
GREY = "#6b7280"
INK = "#1f2933"

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MANY_POINTS = 3000

THEME: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "osteon",
    "text.parse_math": False,
}


class Look(NamedTuple):
    """How one series is drawn: told apart by colour, by line and by marker."""

    colour: str
    linestyle: Any
    marker: str


def look(index: int) -> Look:
    """Return the look of the series with this number, from 0; they repeat after 7."""
    number = index % 7
    return Look(list(COLOURS.values())[number], _DASHES[number], _MARKERS[number])


@contextmanager
def theme() -> Iterator[None]:
    """Draw in this style inside the ``with`` block."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(THEME)
        yield


def themed(draw: Callable[P, T]) -> Callable[P, T]:
    """Make a drawing function draw in this style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with theme():
            return draw(*args, **kwargs)

    return drawn


def new_figure(
    width: float = 6.0, height: float = 4.0, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return an empty figure and its axes, without pyplot's global state.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Rows of axes.
        columns: Columns of axes.
        options: Passed to ``Figure.subplots``, e.g. ``sharex=True``, ``squeeze=False``.

    Returns:
        ``(figure, axes)`` as ``pyplot.subplots`` does.
    """
    with theme():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, **options)


def save(figure: Figure, path: str | Path, dpi: int = 160) -> None:
    """Write a figure whole or not at all, as ``.png``, ``.svg`` or ``.pdf``; the same figure gives the same bytes."""
    path = Path(path)
    content = _draw(figure, path.suffix.lstrip("."), dpi)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def figure_uri(figure: Figure, dpi: int = 144) -> str:
    """Return a figure as a data URI: SVG, or PNG where it holds pictures or very many points."""
    if _is_heavy(figure):
        return data_uri(_draw(figure, "png", dpi), "image/png")
    return data_uri(_draw(figure, "svg", dpi), "image/svg+xml")


def _draw(figure: Figure, kind: str, dpi: int) -> bytes:
    """Return the file's bytes without dates or versions in them."""
    metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}.get(
        kind, {"CreationDate": None, "Creator": None, "Producer": None}
    )
    buffer = io.BytesIO()
    with theme():
        _lay_out(figure)
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Lay a figure out once: drawn again it keeps its places, and Matplotlib needs not draw it to find them."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _is_heavy(figure: Figure) -> bool:
    for axes in figure.axes:
        points = sum(np.size(line.get_xdata()) for line in axes.lines)
        points += sum(np.size(item.get_offsets()) // 2 for item in axes.collections)
        pictures = any(np.prod(image.get_size()) > 1024 for image in axes.images)
        if pictures or points + len(axes.patches) > _MANY_POINTS:
            return True
    return False
