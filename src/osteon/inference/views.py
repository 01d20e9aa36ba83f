"""Test-time augmentation: the same picture seen in several ways, and one probability from all of them.

Nine changes beside the untouched picture, as many as in Kandel and Castelli 2021 (Health Inf. Sci. Syst. 9:33), with
average and majority vote. Angles, factors, centre and filling are those of the augmentation in training
(``docs/augmentation.md``); NumPy and Pillow only, so that a predictor without torch can use them too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.errors import SettingsError
from osteon.progress import track

Picture = NDArray[np.uint8]
Vector = NDArray[np.float64]
Fill = Literal["zero", "nearest"]

CHUNK = 256  # pictures changed and predicted at once
MOST_DEGREES, LARGEST_FACTOR = 180.0, 4.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of view takes: no value, degrees, or a factor."""

    takes: Literal["", "degrees", "factor"]
    about: str


KINDS: dict[str, _Kind] = {
    "original": _Kind("", "untouched"),
    "horizontal_flip": _Kind("", "left becomes right"),
    "vertical_flip": _Kind("", "top becomes bottom"),
    "rotate": _Kind("degrees", "about the centre, counter-clockwise"),
    "zoom": _Kind("factor", "about the centre; above 1 enlarges"),
    "brightness": _Kind("factor", "on grey values"),
    "contrast": _Kind("factor", "about the picture's own mean"),
    "gamma": _Kind("factor", "exponent on grey values in 0-1"),
}


@dataclass(frozen=True, slots=True)
class View:
    """One way of seeing a picture.

    Attributes:
        kind: One of :data:`KINDS`.
        value: Degrees or factor; None where the kind takes none.

    Raises:
        SettingsError: The kind is unknown, or its value is missing, not wanted or out of range.
    """

    kind: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            close = difflib.get_close_matches(self.kind, KINDS, n=2)
            guess = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise SettingsError(f"there is no view {self.kind!r}", hint=f"{guess}Known: {', '.join(_usages())}")
        takes = KINDS[self.kind].takes
        if bool(takes) != (self.value is not None):
            raise SettingsError(
                f"the view {self.kind!r} takes {takes or 'no value'}", hint=f"Written {_usage(self.kind)}"
            )
        if self.value is not None:
            object.__setattr__(self, "value", float(self.value))  # NumPy's numbers are written otherwise
            self._check_range(self.value, takes)

    def _check_range(self, value: float, takes: str) -> None:
        degrees = takes == "degrees"
        possible = abs(value) <= MOST_DEGREES if degrees else 1 / LARGEST_FACTOR <= value <= LARGEST_FACTOR
        if not possible:
            allowed = (
                f"-{MOST_DEGREES:g} to {MOST_DEGREES:g}" if degrees else f"{1 / LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}"
            )
            raise SettingsError(f"{value:g} is out of range for the view {self.kind!r}", hint=f"Allowed: {allowed}")

    @property
    def name(self) -> str:
        """The view as it is written, e.g. ``rotate:10``; :func:`parse_view` reads it back to an equal view."""
        return self.kind if self.value is None else f"{self.kind}:{self.value!r}".removesuffix(".0")

    def apply(self, picture: Picture, fill: Fill = "zero") -> Picture:
        """Return the picture seen this way.

        Args:
            picture: Grey values, shape ``(h, w)``.
            fill: Grey values from outside the picture: black, or those of the nearest edge; best as in training.

        Returns:
            Same shape and type. Flips and the original keep every value exactly.
        """
        if self.kind in ("original", "horizontal_flip", "vertical_flip"):
            flipped = {"original": picture, "horizontal_flip": picture[:, ::-1], "vertical_flip": picture[::-1]}
            return np.ascontiguousarray(flipped[self.kind])
        value = 1.0 if self.value is None else self.value
        if self.kind == "rotate":
            return _moved(picture, _rotation(value), fill)
        if self.kind == "zoom":
            return _moved(picture, np.eye(2) / value, fill)
        return _toned(picture, self.kind, value)

    def as_dict(self) -> dict[str, str | float | None]:
        """Return the view as plain data."""
        return {"name": self.name, "kind": self.kind, "value": self.value}


Views = str | Sequence[View | str]
"""Views, or as they are written: all in one text between commas, or one each."""

ORIGINAL = View("original")
NINE = (
    View("horizontal_flip"),
    View("vertical_flip"),
    View("rotate", 10.0),
    View("rotate", -10.0),
    View("zoom", 1.1),
    View("zoom", 0.9),
    View("brightness", 1.2),
    View("brightness", 0.8),
    View("contrast", 1.2),
)
"""The default views beside the original."""


def parse_view(text: str) -> View:
    """Read a view as it is written: ``horizontal_flip``, ``rotate:-10``, ``zoom:1.1``.

    Raises:
        SettingsError: The view is unknown or its value is not possible.
    """
    kind, colon, value = text.strip().partition(":")
    if not colon:
        return View(kind)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"{value!r} is not a number", where=f"view {text!r}", hint="Written e.g. rotate:10")
    return View(kind, number)


def parse_views(texts: str | Sequence[str]) -> tuple[View, ...]:
    """Read several views, in the order given; one text may hold several between commas.

    Raises:
        SettingsError: There is none, one is given twice, unknown, or its value is not possible.
    """
    parts = [part for text in ([texts] if isinstance(texts, str) else texts) for part in text.split(",")]
    views = tuple(parse_view(part) for part in parts if part.strip())
    if not views:
        raise SettingsError("no view is named", hint=f"Known: {', '.join(_usages())}")
    check_distinct(views)
    return views


def read_views(views: Views) -> tuple[View, ...]:
    """Return views as they are, and read those that are written.

    Raises:
        SettingsError: One is given twice, unknown, or its value is not possible.
    """
    if isinstance(views, str):
        return parse_views(views)
    found = tuple(parse_view(view) if isinstance(view, str) else view for view in views)
    check_distinct(found)
    return found


def check_distinct(views: Sequence[View]) -> None:
    """Refuse a view that occurs twice, which would count double.

    Raises:
        SettingsError: One does.
    """
    twice = [view.name for number, view in enumerate(views) if view in views[:number]]
    if twice:
        raise SettingsError(f"the view {twice[0]!r} is given twice")


def predict_views(
    probabilities: Callable[[Picture], Vector],
    pixels: Picture,
    views: Sequence[View] = (ORIGINAL, *NINE),
    fill: Fill = "zero",
) -> Vector:
    """Return the probabilities of pictures under each view.

    Args:
        probabilities: Of the positive class, ``(m,)``, for pictures ``(m, h, w)``; e.g. of a trained run.
        pixels: Grey values, shape ``(n, h, w)``; may lie on disk.
        views: Ways of seeing them.
        fill: Grey values from outside a picture.

    Returns:
        Shape ``(n, len(views))``.
    """
    found = np.empty((len(pixels), len(views)))
    for start in track(range(0, len(pixels), CHUNK), "Predicting views"):
        chunk = np.asarray(pixels[start : start + CHUNK])
        for column, view in enumerate(views):
            seen = chunk if view == ORIGINAL else np.stack([view.apply(picture, fill) for picture in chunk])
            found[start : start + len(chunk), column] = probabilities(seen)
    return found


def _usage(kind: str) -> str:
    return kind + {"": "", "degrees": ":DEGREES", "factor": ":FACTOR"}[KINDS[kind].takes]


def _usages() -> list[str]:
    return [_usage(kind) for kind in KINDS]


def _rotation(degrees: float) -> Vector:
    """Return the matrix from output to input positions, y downwards, for a counter-clockwise turn."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _moved(picture: Picture, matrix: Vector, fill: Fill) -> Picture:
    """Resample bilinearly about the centre; the margin around the picture is filled before, as torch's sampler does."""
    height, width = picture.shape
    half = np.array([width, height]) / 2
    reach = np.abs(matrix) @ half - half
    margin = int(np.ceil(max(0.0, *reach))) + 2
    padded = np.pad(picture, margin, mode="constant" if fill == "zero" else "edge").astype(np.float32)
    offset = half + margin - matrix @ half
    terms = (*matrix[0], offset[0], *matrix[1], offset[1])
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, tuple(map(float, terms)), Image.Resampling.BILINEAR
    )
    return _rounded(np.asarray(moved))


def _toned(picture: Picture, kind: str, value: float) -> Picture:
    grey = picture.astype(np.float32)
    if kind == "brightness":
        return _rounded(grey * value)
    if kind == "contrast":
        mean = float(picture.mean())
        return _rounded(mean + value * (grey - mean))
    return _rounded(255 * (grey / 255) ** value)


def _rounded(grey: NDArray[np.float32] | NDArray[np.float64]) -> Picture:
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)
