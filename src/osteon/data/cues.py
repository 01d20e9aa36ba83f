"""Cues: all that can be known of an image without looking at the bone, from which a label should not be readable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import COLUMNS, Catalogue, has_name, names_in
from osteon.data.fingerprints import DAMAGED, Fingerprints

Kind = Literal["number", "flag", "category"]
Origin = Literal["file", "grey values", "metadata"]

MOST_LEVELS = 50
OTHER = "(other)"
UNKNOWN = "(unknown)"
PLACES = ("folder", "file_number")


@dataclass(frozen=True)
class Cue:
    """One cue of every image.

    Attributes:
        name: In words, e.g. ``"height"``, or a column's name.
        kind: ``number``; ``flag`` (0 or 1); ``category``.
        origin: What it is taken from; a network that sees pixels alone cannot see ``metadata``.
        values: Shape ``(n,)``: float with NaN where unknown, or text (:data:`UNKNOWN` where unknown).
    """

    name: str
    kind: Kind
    origin: Origin
    values: NDArray[Any]


def gather_cues(catalogue: Catalogue, prints: Fingerprints) -> list[Cue]:
    """Return the cues of a catalogue's images that differ between images.

    Columns that only say where a file lies (:data:`PLACES`) and columns in which most images have a text of their
    own are left out; a category's levels beyond the 50 commonest are taken together.
    """
    cues = [*_file_cues(prints), *_grey_cues(prints), *_name_cues(catalogue), *_column_cues(catalogue)]
    return [cue for cue in cues if _differs(cue.values)]


def _file_cues(prints: Fingerprints) -> Iterator[Cue]:
    records, known = prints.records, prints.readable
    width, height, size = (records[name].astype(float) for name in ("width", "height", "bytes"))
    area = np.maximum(width * height, 1)
    numbers = {
        "width": width,
        "height": height,
        "aspect (width / height)": width / np.maximum(height, 1),
        "file size": size,
        "bytes per pixel": size / area,
        "JPEG quantisation": records["quantisation"].astype(float),
    }
    for name, values in numbers.items():
        yield Cue(name, "number", "file", np.where(known, values, np.nan))
    shape = np.select([width > height, width < height], ["landscape", "portrait"], "square")
    exact = pd.Series([f"{w}x{h}" for w, h in zip(records["width"], records["height"], strict=True)], dtype=str)
    yield _category("orientation", "file", pd.Series(np.where(known, shape, ""), dtype=str))
    yield _category("exact size", "file", exact.where(known, ""))
    yield _category("colour channels", "file", pd.Series(records["channels"]).astype(str).where(known, ""))
    yield Cue("truncated file", "flag", "file", np.where(known, records["status"] == DAMAGED, np.nan))


def _grey_cues(prints: Fingerprints) -> Iterator[Cue]:
    names = {
        "mean": "mean grey",
        "sd": "grey spread",
        "border": "border brightness",
        "commonest": "share of one grey value",
    }
    for name, words in names.items():
        yield Cue(words, "number", "grey values", np.where(prints.readable, prints.records[name], np.nan))


def _name_cues(catalogue: Catalogue) -> Iterator[Cue]:
    """Yield whether an image shows each region and view."""
    for column in ("region", "view"):
        values = catalogue.images[column]
        for name in names_in(values)[:MOST_LEVELS]:
            yield Cue(f"{column} {name}", "flag", "metadata", has_name(values, name).astype(float))


def _column_cues(catalogue: Catalogue) -> Iterator[Cue]:
    for name in catalogue.images:
        if name not in (*COLUMNS, *PLACES):
            yield from column_cues(str(name), catalogue.images[name])


def column_cues(name: str, column: pd.Series[Any]) -> Iterator[Cue]:
    """Yield a metadata column as a cue, and whether it is known if it is not always."""
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    known = text != ""
    if not known.any():
        return
    numbers = pd.to_numeric(text.replace({"True": "1", "False": "0"}), errors="coerce").astype(float)
    if numbers[known].notna().all() and np.isfinite(numbers[known]).all():
        flag = set(numbers[known]) <= {0.0, 1.0}
        yield Cue(name, "flag" if flag else "number", "metadata", numbers.to_numpy())
    elif text[known].nunique() <= max(MOST_LEVELS, known.sum() / 2):
        yield _category(name, "metadata", text)
    if not known.all():
        yield Cue(f"{name} is known", "flag", "metadata", known.to_numpy(dtype=float))


def _category(name: str, origin: Origin, text: pd.Series[str]) -> Cue:
    common = text.value_counts().index[:MOST_LEVELS]
    values = text.where(text.isin(common), OTHER).where(text != "", UNKNOWN)
    return Cue(name, "category", origin, values.to_numpy(dtype=object))


def _differs(values: NDArray[Any]) -> bool:
    known = pd.Series(values).dropna()
    return bool(len(known) and (known != known.iloc[0]).any())
