"""A reading as a report to print: verdicts in words, the pictures with their maps, and what the model can do."""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from osteon._version import __version__
from osteon.export.model_card import OperatingPoint
from osteon.inference.heat_map import HeatMap
from osteon.inference.prediction import NOT_A_DEVICE, Prediction, verdict_words
from osteon.inference.predictor import Predictor
from osteon.web.maps import CoarseMap
from osteon.web.page import figure_words
from osteon.web.reading import Reading, Study, View, counted_once

A4 = (8.27, 11.69)
SIDE = 1000
"""Longest side of a picture in the report, in pixels."""

_PLACES = ((0.08, 0.88), (0.53, 0.88), (0.08, 0.47), (0.53, 0.47))
_WIDTH = 0.39
_SLOT = 0.395
"""Height of a view's picture and words together, as a share of the page's."""
_TALLEST = 0.32
_LINE = 0.0128
_MOST_LINES = 22
_FOOT_LINES = 6
"""Lines that there is room for at the foot; more are written smaller."""
_GRAVITY = {"reject": "Not read", "abstain": "Held back", "warn": "Note"}
_LOCK = threading.Lock()  # matplotlib's caches of fonts are shared by its figures


def write_pdf(reading: Reading, predictor: Predictor, request_id: str) -> bytes:
    """Return the report: for each study its verdict, and its views four a page.

    Args:
        reading: What the files came to.
        predictor: Who answered.
        request_id: Stands on each page.
    """
    out = io.BytesIO()
    target = predictor.card.target
    foot = _foot(reading, predictor, request_id)
    with _LOCK, PdfPages(out, metadata={"Title": "Osteon report", "Subject": NOT_A_DEVICE}) as pages:
        for number, study in enumerate(reading.studies, start=1):
            for first in range(0, len(study.views), len(_PLACES)):
                shown = study.views[first : first + len(_PLACES)]
                pages.savefig(_page(number, study, shown, target, foot))
    return out.getvalue()


def _page(number: int, study: Study, views: Sequence[View], target: str, foot: str) -> Figure:
    figure = Figure(figsize=A4)
    FigureCanvasPdf(figure)
    found = study.prediction
    _write(figure, 0.08, 0.965, f"Is it {target}? Study {number}: {verdict_words(found.verdict, target)}", 15)
    _write(figure, 0.08, 0.938, _study_words(study, target), 9)
    _write(figure, 0.08, 0.903, NOT_A_DEVICE, 10, weight="bold")
    for (left, top), view in zip(_PLACES, views, strict=False):
        lines = _view_lines(view, target)
        bottom = top - min(_TALLEST, _SLOT - 0.01 - _LINE * len(lines))
        _draw(figure.add_axes((left, bottom, _WIDTH, top - bottom)), view)
        _write(figure, left, bottom - 0.01, "\n".join(lines), 8)
    _write(figure, 0.08, 0.065, foot, 7 * min(1, _FOOT_LINES / len(foot.splitlines())))
    return figure


def _draw(axes: Axes, view: View) -> None:
    axes.set_axis_off()
    axes.set_anchor("SW")
    if view.png is None:
        axes.text(0.5, 0.5, "There is no picture to show", ha="center", va="center")
        return
    height, width = view.prediction.height, view.prediction.width
    small = _reduced(view.png)
    extent = (0, width, height, 0)
    axes.imshow(small, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    if view.prediction.heat_map is not None:
        axes.imshow(_layer(view.prediction.heat_map, small.shape), extent=extent, interpolation="bilinear")
        for line in CoarseMap.of(view.prediction.heat_map).outlines():
            axes.plot(line[:, 0], line[:, 1], color="#00c8c8", linewidth=1)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _layer(found: HeatMap, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a map's colours over the original, as opaque as they are strong; shape ``(*shape, 4)``, in 0-1."""
    from osteon.inference.heat_map import OPACITY, coloured

    strength = np.asarray(
        Image.fromarray(CoarseMap.of(found).map.on_original()).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    )
    strength = np.clip(strength, 0, 1)
    return np.concatenate([coloured(strength) / 255, OPACITY * strength[..., None]], axis=-1)


def _reduced(png: bytes) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(png))
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _study_words(study: Study, target: str) -> str:
    found = study.prediction
    if found.probability is None:
        return "No view could be answered for."
    answered = sum(view.probability is not None for view in found.views)
    missing = len(found.views) - answered
    words = f"Probability of {target}: {found.probability:.3f}"
    if answered > 1:
        words += f", {found.pooling} of {answered} views; one view that is likely {target} makes the study so"
    if missing:
        words += f"\n{missing} of {len(found.views)} views {'has' if missing == 1 else 'have'} no answer"
    return words


def _view_lines(view: View, target: str) -> list[str]:
    """Return what is said below a picture, the gravest first, in at most ``_MOST_LINES`` lines."""
    found: Prediction = view.prediction
    lines = [f"View {view.file.number}: {verdict_words(found.verdict, target)}"]
    if found.probability is not None:
        lines.append(f"Probability {found.probability:.3f}, threshold {found.threshold:.3f}")
    if found.refusal is not None:
        lines.append(f"No answer: {found.refusal.detail}")
    if view.file.copies:
        lines.append(counted_once((view.file.number, *view.file.copies)))
    flags = sorted(found.flags, key=lambda flag: list(_GRAVITY).index(flag.severity))
    lines += [
        f"{_GRAVITY[flag.severity]}: {flag.detail}"
        for flag in flags
        if found.refusal is None or flag.detail != found.refusal.detail
    ]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 58)]
    return wrapped if len(wrapped) <= _MOST_LINES else [*wrapped[: _MOST_LINES - 1], "(and more: see the page)"]


def _foot(reading: Reading, predictor: Predictor, request_id: str) -> str:
    card = predictor.card
    lines = [
        *_warnings(reading),
        f"Model {card.name}, weights {card.weights_sha256[:16]}, Osteon {__version__}; taught on {card.data.name}.",
        *(_measured(predictor.operating_point)),
        f"Request {request_id}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. The answer of a machine; a person who may do "
        "so has to read the images.",
    ]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, 140))


def _warnings(reading: Reading) -> list[str]:
    """Return what is said of all files; what concerns one view stands below it."""
    views = [view for study in reading.studies for view in study.views if view.file.copies]
    told = {counted_once((view.file.number, *view.file.copies)) for view in views}
    return [words for words in reading.warnings if words not in told]


def _measured(point: OperatingPoint) -> list[str]:
    return [
        f"At the threshold {point.threshold:.3f} on {images.replace('_', ' ')} images: "
        + "; ".join(
            f"{name} {figure_words(figures[name])}" for name in ("sensitivity", "specificity") if name in figures
        )
        for images, figures in point.measured.items()
    ]


def _write(figure: Figure, left: float, top: float, words: str, size: float, weight: str = "normal") -> None:
    figure.text(left, top, words, size=size, va="top", weight=weight, parse_math=False)
