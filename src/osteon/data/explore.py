"""Explore a data set: who and what is in it, how large and how bright its images are, and what they look like."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from osteon.config import PAPER_MEAN, PAPER_SD, Damaged
from osteon.data import explore_figures as draw
from osteon.data import explore_tables as tables
from osteon.data.catalogue import Catalogue, has_name
from osteon.data.explore_page import exploration_page
from osteon.data.grey_values import GreyValues, measure_grey_values, read_pictures
from osteon.data.images import UnreadableImageError, read_image_uint8
from osteon.errors import Refusal
from osteon.pages.style import save
from osteon.run import write_json, write_text
from osteon.transforms.preprocess import fit_grey

SHEET_COLUMNS = 6
SHEET_SIDE = 256

_LABELS = (("negative", 0), ("positive", 1), ("unknown", None))
Pictures = list[tuple[str, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class Exploration:
    """What was found.

    Attributes:
        catalogue: The data set.
        basis: Which images were measured: ``"training images"`` where there is a training split, else ``"images"``.
        available: How many such images there are; the measured ones are a simple random sample of them.
        greys: Sizes and grey values; its ``images`` also hold ``label, region, view``.
        sheets: Sample pictures, by region and then by class (``negative``, ``positive``, ``unknown``).
        example: Image id, original and its resized square for Figure 2; None if nothing could be read.
        size: Side of the resized squares, in pixels.
        refusals: Files and rows that could not be used, once each.
    """

    catalogue: Catalogue
    basis: str
    available: int
    greys: GreyValues
    sheets: dict[str, dict[str, Pictures]]
    example: tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None
    size: int
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain data for JSON, None for what is undefined."""
        images = self.catalogue.images
        return {
            "name": self.catalogue.name,
            "target": self.catalogue.target,
            "splits": tables.overview(images),
            "studies_per_patient": tables.studies_per_patient(images).to_dict("records"),
            "by_region": tables.balance(images, "region").to_dict("records"),
            "by_view": tables.balance(images, "view").to_dict("records"),
            "images_per_study": tables.images_per_study(images).to_dict("records"),
            "grey_values": self._grey_values(),
            "sizes": self._sizes(),
            "warnings": list(self.catalogue.warnings),
            "refusals": [item.as_dict() for item in self.refusals],
        }

    def _grey_values(self) -> dict[str, Any]:
        ways = {
            way: {name: None if math.isnan(value) else value for name, value in asdict(item).items()}
            for way, item in self.greys.statistics.items()
        }
        paper = {"mean": PAPER_MEAN, "sd": PAPER_SD}
        return {"basis": self.basis, "available": self.available, "resized_to": self.size, **ways, "paper": paper}

    def _sizes(self) -> dict[str, Any]:
        measured = self.greys.images
        if measured.empty:
            return {}
        columns = {"width": measured["width"], "height": measured["height"]}
        columns["aspect"] = measured["width"] / measured["height"]
        quantiles = {"smallest": 0.0, "median": 0.5, "largest": 1.0}
        return {
            name: {word: float(column.quantile(share)) for word, share in quantiles.items()}
            for name, column in columns.items()
        }


def explore(
    catalogue: Catalogue, *, sample: int = 2000, size: int = 256, damaged: Damaged = "use", seed: int = 0
) -> Exploration:
    """Count what the catalogue holds, measure a sample of its images and pick some to look at.

    Args:
        catalogue: Patients, splits, views and labels may be unknown.
        sample: At most how many images are measured; of the training split where there is one.
        size: Side of the resized squares, in pixels.
        damaged: Policy for truncated files.
        seed: Of the sample and the pictures.

    Raises:
        InputError: A file is damaged and ``damaged`` is ``"fail"``.
    """
    generator = np.random.default_rng(seed)
    training = catalogue.in_split("train")
    pool, basis = (training, "training images") if len(training) else (catalogue.images, "images")
    chosen = pool.iloc[np.sort(generator.permutation(len(pool))[:sample])]
    greys = _with_facts(measure_grey_values(chosen, size, damaged), catalogue.images)
    sheets, refused = _sheets(catalogue.images, generator)
    return Exploration(
        catalogue=catalogue,
        basis=basis,
        available=len(pool),
        greys=greys,
        sheets=sheets,
        example=_example(greys, catalogue.images, size),
        size=size,
        refusals=_once(*catalogue.refusals, *greys.refusals, *refused),
    )


def draw_figures(exploration: Exploration) -> dict[str, Figure]:
    """Return the figures that the data allow, by name."""
    images, target = exploration.catalogue.images, exploration.catalogue.target
    figures = {}
    patients = tables.studies_per_patient(images)
    if len(patients):
        figures["figure-1-studies-per-patient"] = draw.studies_per_patient_figure(patients)
    else:
        figures["figure-1-studies"] = draw.studies_figure(_studies_by_split(images), target)
    balances = {column: tables.balance(images, column) for column in ("region", "view") if (images[column] != "").any()}
    if balances:
        figures["balance"] = draw.balance_figure(balances, target)
    per_study = tables.images_per_study(images)
    if list(per_study["images"]) != [1]:
        figures["images-per-study"] = draw.images_per_study_figure(per_study, target)
    measured = exploration.greys.images
    if len(measured):
        figures["sizes"] = draw.sizes_figure(measured, target)
        figures["grey-values"] = draw.grey_values_figure(exploration.greys.densities, measured, target)
    if exploration.example:
        _, pixels, square = exploration.example
        figures["figure-2-standardised"] = draw.standardised_figure(pixels, square, PAPER_MEAN, PAPER_SD)
    for number, (region, rows) in enumerate(exploration.sheets.items(), start=1):
        words = {tables.class_words(name, target): pictures for name, pictures in rows.items()}
        figures[f"sheet-{number:02d}-{_file_name(region)}"] = draw.sample_sheet(region, words)
    return figures


def write_exploration(exploration: Exploration, folder: str | Path) -> list[Path]:
    """Write every figure as PNG, ``explore.json`` and the page ``explore.html``.

    Returns:
        The files written, the page last.

    Raises:
        SettingsError: The folder cannot be written to.
    """
    folder = Path(folder)
    figures = draw_figures(exploration)
    paths = [folder / f"{name}.png" for name in figures]
    for figure, path in zip(figures.values(), paths, strict=True):
        save(figure, path)
    facts = exploration.as_dict()
    write_json(folder / "explore.json", facts)
    write_text(folder / "explore.html", exploration_page(exploration, figures, facts))
    return [*paths, folder / "explore.json", folder / "explore.html"]


def _with_facts(greys: GreyValues, images: pd.DataFrame) -> GreyValues:
    facts = images[["image_id", "label", "region", "view"]]
    return GreyValues(greys.images.merge(facts, how="left"), greys.densities, greys.statistics, greys.refusals)


def _studies_by_split(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {split: tables.balance(tables.studies(rows), "region") for split, rows in tables.by_split(images).items()}


def _sheets(
    images: pd.DataFrame, generator: np.random.Generator
) -> tuple[dict[str, dict[str, Pictures]], list[Refusal]]:
    """Pick and read pictures of each class in each of the most frequent regions."""
    regions = [name for name in tables.balance(images, "region")["name"][: draw.MOST_NAMES] if name != tables.UNKNOWN]
    wanted: dict[str, dict[str, list[str]]] = {}
    for region in regions or [tables.UNKNOWN]:
        rows = images[has_name(images["region"], region)] if regions else images
        wanted[region] = {}
        for name, label in _LABELS:
            ids = rows.loc[
                rows["label"].isna() if label is None else (rows["label"] == label).fillna(False), "image_id"
            ]
            if len(ids):
                wanted[region][name] = ids.iloc[generator.permutation(len(ids))[:SHEET_COLUMNS]].tolist()
    every = {image_id for rows in wanted.values() for ids in rows.values() for image_id in ids}
    pictures, refused = read_pictures(images[images["image_id"].isin(every)], SHEET_SIDE)
    sheets = {
        region: {name: kept for name, ids in rows.items() if (kept := [(i, pictures[i]) for i in ids if i in pictures])}
        for region, rows in wanted.items()
    }
    return {region: rows for region, rows in sheets.items() if rows}, refused


def _example(
    greys: GreyValues, images: pd.DataFrame, size: int
) -> tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """Return the measured image whose mean grey value is nearest the median: neither very dark nor very bright."""
    measured = greys.images[~greys.images["damaged"].astype(bool)]
    if measured.empty:
        return None
    nearest = int(np.argmin((measured["mean"] - measured["mean"].median()).abs().to_numpy()))
    chosen = str(measured["image_id"].iloc[nearest])
    path = images.loc[images["image_id"] == chosen, "path"].iloc[0]
    try:
        pixels = read_image_uint8(Path(path)).pixels
    except UnreadableImageError:
        return None
    return (
        str(chosen),
        np.asarray(pixels, dtype=np.uint8),
        fit_grey(np.asarray(pixels, dtype=np.uint8), size, "squeeze"),
    )


def _file_name(text: str) -> str:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return plain.strip("-")[:40] or "region"


def _once(*refusals: Refusal) -> tuple[Refusal, ...]:
    return tuple({item.path: item for item in refusals}.values())
