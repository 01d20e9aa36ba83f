"""The page of an exploration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from osteon.config import PAPER_MEAN, PAPER_SD
from osteon.data.explore_tables import MOST_STUDIES, class_words
from osteon.pages.html import number, percent, render, thousands, thumbnail
from osteon.pages.style import figure_uri

if TYPE_CHECKING:
    from osteon.data.explore import Exploration

THUMBNAIL_SIDE = 256
MOST_REFUSALS = 50


def exploration_page(exploration: Exploration, figures: dict[str, Figure], facts: dict[str, Any]) -> str:
    """Return the page.

    Args:
        exploration: What was found.
        figures: By name, as :func:`osteon.data.explore.draw_figures` returns them.
        facts: ``exploration.as_dict()``.
    """
    return render(
        "osteon.data",
        "explore.html.j2",
        catalogue=exploration.catalogue,
        facts=facts,
        rows=_rows(facts),
        figures={name: figure_uri(figure) for name, figure in figures.items() if not name.startswith("sheet-")},
        sheets=_sheets(exploration),
        example=exploration.example[0] if exploration.example else None,
        measured=len(exploration.greys.images),
        damaged=int(exploration.greys.images["damaged"].sum()),
        mean=PAPER_MEAN,
        sd=PAPER_SD,
    )


def _sheets(exploration: Exploration) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    target = exploration.catalogue.target
    return {
        region: [
            (
                class_words(name, target),
                [(image_id, thumbnail(pixels, THUMBNAIL_SIDE)) for image_id, pixels in pictures],
            )
            for name, pictures in rows.items()
        ]
        for region, rows in exploration.sheets.items()
    }


def _rows(facts: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Return the cells of the page's tables."""
    greys = facts["grey_values"]
    square = f"{greys['resized_to']} × {greys['resized_to']}"
    ways = {
        "original": "original pixels",
        "padded": f"squares of {square}, aspect kept by padding",
        "squeezed": f"squares of {square}, squeezed",
    }
    measured = [
        [words, thousands(greys[way]["images"]), number(greys[way]["mean"], 2), number(greys[way]["sd"], 2)]
        for way, words in ways.items()
    ]
    paper = ["the paper (MURA humerus; pixels not stated)", "–", number(greys["paper"]["mean"], 2)]
    return {
        "splits": [_split_row(row) for row in facts["splits"]],
        "patients": [_patients_row(row) for row in facts["studies_per_patient"]],
        "regions": [_balance_row(row) for row in facts["by_region"]],
        "views": [_balance_row(row) for row in facts["by_view"]],
        "greys": [*measured, [*paper, number(greys["paper"]["sd"], 2)]],
        "sizes": [_size_row(name, row) for name, row in facts["sizes"].items()],
        "refusals": [[item["path"], item["detail"]] for item in facts["refusals"][:MOST_REFUSALS]],
    }


def _split_row(row: dict[str, Any]) -> list[str]:
    patients = "unknown" if row["patients"] is None else thousands(row["patients"])
    return [row["split"], thousands(row["images"]), thousands(row["studies"]), patients, *_labels(row)]


def _balance_row(row: dict[str, Any]) -> list[str]:
    return [row["name"], thousands(row["total"]), *_labels(row)]


def _labels(row: dict[str, Any]) -> list[str]:
    known = row["negative"] + row["positive"]
    share = percent(row["positive"] / known if known else None)
    return [*(thousands(row[name]) for name in ("negative", "positive", "unknown")), share]


def _patients_row(row: dict[str, Any]) -> list[str]:
    count = int(row["studies"])
    return [
        row["split"],
        row["region"],
        f"{count} or more" if count == MOST_STUDIES else str(count),
        thousands(row["patients"]),
    ]


def _size_row(name: str, row: dict[str, float]) -> list[str]:
    show = (lambda value: number(value, 2)) if name == "aspect" else thousands
    words = {"width": "width in pixels", "height": "height in pixels", "aspect": "width / height"}
    return [words[name], *(show(row[key]) for key in ("smallest", "median", "largest"))]
