"""Figures of a data set before anything is trained on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from osteon.data.explore_tables import MOST_STUDIES, class_words
from osteon.pages.html import thousands
from osteon.pages.style import COLOURS, GREY, NEGATIVE, POSITIVE, new_figure, themed

MOST_NAMES = 12
"""Regions or views shown in a figure; rarer ones are joined as ``other``."""

CLASSES = (("negative", NEGATIVE, ""), ("positive", POSITIVE, "////"), ("unknown", "#c3cad3", "...."))
_STUDY_COLOURS = (COLOURS["sky"], COLOURS["blue"], COLOURS["orange"], COLOURS["vermillion"])
_STUDY_HATCHES = ("", "////", "....", "xxxx")
_THOUSANDS = FuncFormatter(lambda value, _: thousands(value))


@themed
def studies_per_patient_figure(table: pd.DataFrame) -> Figure:
    """Draw the paper's Figure 1: patients by how many studies of a region they have, one panel for each split.

    Args:
        table: From :func:`osteon.data.explore_tables.studies_per_patient`.
    """
    splits = list(dict.fromkeys(table["split"]))
    regions = sorted(table["region"].unique())
    figure, grid = new_figure(max(5.0, 1.6 + 1.05 * len(regions)), 2.7 * len(splits), len(splits), squeeze=False)
    for axes, split in zip(grid[:, 0], splits, strict=True):
        rows = table[table["split"] == split]
        _grouped_studies(axes, rows, regions)
        axes.set_title(f"{split}: {thousands(rows['patients'].sum())} patients by region")
        axes.set_ylabel("patients")
    handles, names = grid[0, 0].get_legend_handles_labels()
    names = [f"{name} {'study' if name == '1' else 'studies'}" for name in names]
    figure.legend(handles, names, loc="outside upper right", ncols=MOST_STUDIES)
    return figure


def _grouped_studies(axes: Axes, rows: pd.DataFrame, regions: list[str]) -> None:
    width = 0.84 / MOST_STUDIES
    for number in range(1, MOST_STUDIES + 1):
        counts = rows[rows["studies"] == number].set_index("region")["patients"].reindex(regions, fill_value=0)
        bars = axes.bar(
            np.arange(len(regions)) + (number - (MOST_STUDIES + 1) / 2) * width,
            counts.to_numpy(),
            width,
            color=_STUDY_COLOURS[number - 1],
            hatch=_STUDY_HATCHES[number - 1],
            edgecolor="white",
            linewidth=0.4,
            label=f"{number} or more" if number == MOST_STUDIES else str(number),
        )
        axes.bar_label(bars, [thousands(count) if count else "" for count in counts], fontsize=6.5, padding=1.5)
    axes.set_xticks(range(len(regions)), regions)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.margins(y=0.2)


@themed
def studies_figure(tables: dict[str, pd.DataFrame], target: str) -> Figure:
    """Draw what is left of the paper's Figure 1 where patients are unknown: studies by region and label.

    Args:
        tables: By split; counts of studies with the columns of :func:`osteon.data.explore_tables.balance`.
        target: What label 1 means.
    """
    return _balances({f"{split}: studies by region": table for split, table in tables.items()}, target, "studies")


@themed
def balance_figure(tables: dict[str, pd.DataFrame], target: str) -> Figure:
    """Draw how many images of each name are negative and positive.

    Args:
        tables: By heading, e.g. ``"region"``; from :func:`osteon.data.explore_tables.balance`.
        target: What label 1 means.
    """
    return _balances({f"by {heading}": table for heading, table in tables.items()}, target, "images")


def _balances(tables: dict[str, pd.DataFrame], target: str, unit: str) -> Figure:
    tables = {heading: _fewest(table) for heading, table in tables.items()}
    heights = [len(table) + 1.6 for table in tables.values()]
    options: dict[str, Any] = {"squeeze": False, "gridspec_kw": {"height_ratios": heights}}
    figure, grid = new_figure(6.6, 0.5 + 0.34 * sum(heights), len(tables), **options)
    for axes, (heading, table) in zip(grid[:, 0], tables.items(), strict=True):
        _stacked(axes, table, target)
        axes.set_title(heading)
    handles, names = _legend_entries(grid[:, 0])
    figure.legend(handles, names, loc="outside upper right", ncols=3)
    grid[-1, 0].set_xlabel(unit)
    return figure


def _legend_entries(panels: npt.NDArray[Any]) -> tuple[list[Any], list[str]]:
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    return list(entries.values()), list(entries)


def _stacked(axes: Axes, table: pd.DataFrame, target: str) -> None:
    place = np.arange(len(table))
    left = np.zeros(len(table))
    for name, colour, hatch in CLASSES:
        counts = table[name].to_numpy()
        if counts.sum():
            axes.barh(
                place,
                counts,
                0.72,
                left,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.4,
                label=class_words(name, target),
            )
            left = left + counts
    for y, row in enumerate(table.to_dict("records")):
        known = row["negative"] + row["positive"]
        share = f", {100 * row['positive'] / known:.0f} % {target}" if known else ""
        words = f"{thousands(row['total'])}{share}"
        place_of_words: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(words, (left[y], y), fontsize=7.5, color=GREY, **place_of_words)
    axes.set_yticks(place, table["name"])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.margins(x=0.22, y=0.04)


def _fewest(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= MOST_NAMES:
        return table
    rest = table.iloc[MOST_NAMES - 1 :]
    other = {**rest.drop(columns="name").sum().to_dict(), "name": f"{len(rest)} others"}
    return pd.concat([table.iloc[: MOST_NAMES - 1], pd.DataFrame([other])], ignore_index=True)


@themed
def images_per_study_figure(table: pd.DataFrame, target: str, most: int = 10) -> Figure:
    """Draw how many studies have one image, two, and so on.

    Args:
        table: From :func:`osteon.data.explore_tables.images_per_study`.
        target: What label 1 means.
        most: Studies with this many images or more are counted together.
    """
    table = table.assign(images=table["images"].clip(upper=most)).groupby("images", as_index=False).sum()
    figure, axes = new_figure(5.4, 3.0)
    bottom = np.zeros(len(table))
    for name, colour, hatch in CLASSES:
        counts = table[name].to_numpy()
        if counts.sum():
            bars = axes.bar(
                table["images"],
                counts,
                0.76,
                bottom,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.4,
                label=class_words(name, target),
            )
            bottom = bottom + counts
    axes.bar_label(bars, [thousands(count) for count in bottom], fontsize=7.5, padding=2, color=GREY)
    axes.set_xticks(table["images"], [f"{count} or more" if count == most else str(count) for count in table["images"]])
    axes.set(xlabel="images in a study", ylabel="studies", title="Images per study")
    axes.set_xlim(table["images"].min() - 0.9, table["images"].max() + 0.9)
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.12)
    axes.legend()
    return figure


@themed
def sizes_figure(measured: pd.DataFrame, target: str) -> Figure:
    """Draw width against height, and the aspects of each class.

    Args:
        measured: Columns ``width, height`` in pixels and ``label``.
        target: What label 1 means.
    """
    figure, (left, right) = new_figure(7.6, 3.5, 1, 2)
    aspect = measured["width"] / measured["height"]
    bins = np.geomspace(aspect.min() / 1.02, aspect.max() * 1.02, 31)
    limit = 1.05 * max(measured["width"].max(), measured["height"].max())
    left.plot([0, limit], [0, limit], color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    for name, rows, colour, marker in _classes(measured, target):
        counts = rows.groupby(["width", "height"], as_index=False).size()
        area = 12 + 240 * counts["size"] / len(measured)
        left.scatter(counts["width"], counts["height"], area, facecolor="none", edgecolor=colour, marker=marker)
        shares = np.histogram(aspect[rows.index], bins)[0] / len(rows)
        right.stairs(100 * shares, bins, color=colour, linewidth=1.6, label=name, linestyle=_dash(marker))
    left.set(xlabel="width in pixels", ylabel="height in pixels", title="Size", xlim=(0, limit), ylim=(0, limit))
    left.set_aspect("equal")
    right.set(xlabel="width / height", ylabel="share of the class in %", title="Aspect")
    right.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    right.set_ylim(bottom=0)
    right.legend()
    return figure


@themed
def grey_values_figure(densities: npt.NDArray[np.float32], measured: pd.DataFrame, target: str) -> Figure:
    """Draw the grey values of each class, and the mean grey values of its images.

    Args:
        densities: Share of each image's pixels in each bin, shape ``(images, bins)``.
        measured: One row for each image with ``label`` and ``mean``.
        target: What label 1 means.
    """
    figure, (left, right) = new_figure(7.6, 3.2, 1, 2)
    edges = np.linspace(0, 256, densities.shape[1] + 1)
    means = np.linspace(0, 256, 33)
    for name, rows, colour, marker in _classes(measured, target):
        share = densities[rows.index.to_numpy()].mean(axis=0)
        left.stairs(100 * share, edges, color=colour, linewidth=1.6, label=name, linestyle=_dash(marker))
        shares = np.histogram(rows["mean"], means)[0] / len(rows)
        right.stairs(100 * shares, means, color=colour, linewidth=1.6, label=name, linestyle=_dash(marker))
    width = 256 // densities.shape[1]
    left.set(xlabel="grey value", ylabel="share of pixels in %", title=f"Grey values (bins of {width})")
    left.set_yscale("symlog", linthresh=1)
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set(xlabel="mean grey value of an image", ylabel="share of the class in %", title="Brightness of images")
    for axes in (left, right):
        axes.set_xlim(0, 256)
        axes.set_xticks([0, 64, 128, 192, 255])
        axes.set_ylim(bottom=0)
    right.legend()
    return figure


def _dash(marker: str) -> str:
    return {"o": "-", "^": "--"}.get(marker, ":")


def _classes(rows: pd.DataFrame, target: str) -> list[tuple[str, pd.DataFrame, str, str]]:
    """Return name, rows, colour and marker of each class that occurs; the rows keep their index."""
    label = rows["label"]
    parts = [
        (f"not {target}", rows[(label == 0).fillna(False)], NEGATIVE, "o"),
        (target, rows[(label == 1).fillna(False)], POSITIVE, "^"),
        ("label unknown", rows[label.isna()], GREY, "s"),
    ]
    return [part for part in parts if len(part[1])]


@themed
def sample_sheet(title: str, rows: dict[str, list[tuple[str, npt.NDArray[np.uint8]]]]) -> Figure:
    """Draw pictures in rows, one row for each class.

    Args:
        title: Heading, e.g. the region.
        rows: By class name: image ids and pictures, shape ``(H, W)``.
    """
    columns = max(len(pictures) for pictures in rows.values())
    figure, grid = new_figure(1.35 * columns + 0.3, 1.62 * len(rows) + 0.4, len(rows), columns, squeeze=False)
    figure.set_facecolor("white")
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (name, pictures) in zip(grid, rows.items(), strict=True):
        for axes, (image_id, pixels) in zip(line, pictures, strict=False):
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
            axes.set_title(_short(image_id), fontsize=5.5, fontweight="normal", color=GREY, pad=2, loc="center")
        line[0].text(-0.08, 0.5, name, rotation=90, va="center", ha="right", fontsize=8, transform=line[0].transAxes)
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    return figure


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]


@themed
def standardised_figure(pixels: npt.NDArray[np.uint8], square: npt.NDArray[np.uint8], mean: float, sd: float) -> Figure:
    """Draw the paper's Figure 2: an original beside what the network gets, each with its histogram.

    Args:
        pixels: The original, shape ``(H, W)``.
        square: The same resized, shape ``(S, S)``.
        mean: Grey value subtracted, on 0-255.
        sd: Grey values divided by, on 0-255.
    """
    standard = (square.astype(np.float64) - mean) / sd
    reach = max(abs(standard.min()), abs(standard.max()))
    options: dict[str, Any] = {"gridspec_kw": {"height_ratios": [2.5, 1]}}
    figure, ((a, b), (c, d)) = new_figure(7.2, 5.4, 2, 2, **options)
    left = a.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    right = b.imshow(standard, cmap="gray", vmin=-reach, vmax=reach)
    figure.colorbar(left, ax=a, shrink=0.85, pad=0.02).outline.set_visible(False)
    figure.colorbar(right, ax=b, shrink=0.85, pad=0.02).outline.set_visible(False)
    for axes in (a, b):
        axes.set_axis_off()
    a.set_title(f"Original, {pixels.shape[1]} × {pixels.shape[0]} pixels")
    b.set_title(f"Standardised, {square.shape[1]} × {square.shape[0]} pixels")
    _histogram(c, pixels.ravel(), np.linspace(0, 256, 65), "grey value")
    _histogram(d, standard.ravel(), (np.linspace(0, 256, 65) - mean) / sd, f"(grey value − {mean:g}) / {sd:g}")
    return figure


def _histogram(axes: Axes, values: npt.NDArray[Any], edges: npt.NDArray[np.float64], label: str) -> None:
    shares = 100 * np.histogram(values, edges)[0] / values.size
    axes.stairs(shares, edges, fill=True, color=NEGATIVE, alpha=0.85)
    axes.axvline(values.mean(), color=POSITIVE, linewidth=1.2, linestyle="--")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel=label, ylabel="% of pixels", xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.set_title(
        f"mean {values.mean():.2f}, SD {values.std():.2f}".replace("-", "−"), fontsize=8, fontweight="normal"
    )
