"""What a localisation study writes: JSON, tables, a figure, and a page with a gallery."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from osteon.evaluation.figures import forest, write_figures
from osteon.evaluation.heat_maps import overlay, picture_uri
from osteon.evaluation.localisation import FIGURES
from osteon.evaluation.location_scores import MeanScores
from osteon.evaluation.report_tables import Cell, Table, p_cell, p_notes, p_text, why_no_p
from osteon.models.explain import find_explanation
from osteon.pages.html import number, render, show_estimate, thousands
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, atomic_path, write_json, write_text
from osteon.statistics.intervals import Estimate
from osteon.studies.localisation import Example, LocalisationStudy, System

SIDE = 360
SHOWN = ("pointing", "pointing_near", "energy", "iou")


def write_localisation(folder: str | Path, study: LocalisationStudy) -> list[Path]:
    """Write everything a study came to.

    Args:
        folder: To write to.
        study: What came out.

    Returns:
        The files written, the page last.

    Raises:
        SettingsError: A file cannot be written.
    """
    folder = Path(folder)
    write_json(folder / "localisation.json", study.as_dict())
    for name, table in (("localisation.csv", scores_table(study)), ("images.csv", images_table(study))):
        with atomic_path(folder / name) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    figures = {f"localisation-{name}": forest_figure(study, name) for name in SHOWN}
    pictures = write_figures(RunFolder(folder).figures, figures)
    write_text(folder / "localisation.html", _page(study, figures))
    names = ("localisation.json", "localisation.csv", "images.csv")
    return [*(folder / name for name in names), *pictures, folder / "localisation.html"]


def scores_table(study: LocalisationStudy) -> pd.DataFrame:
    """Return a row for each system, set of images and score."""
    rows: list[dict[str, Any]] = []
    for item in (*study.systems, *study.priors):
        sets = {"all": item.overall, **({"called positive": item.called} if item.called else {})}
        for name, means in {**sets, **{f"region {name}": part for name, part in item.by_region.items()}}.items():
            rows += [{"run": item.run, "method": item.method, "images": name, **row} for row in _rows(means)]
    return pd.DataFrame(rows)


def images_table(study: LocalisationStudy) -> pd.DataFrame:
    """Return a row for each system and image with its scores."""
    tables = [
        pd.DataFrame({"image_id": study.images, "run": item.run, "method": item.method, **item.values})
        for item in (*study.systems, *study.priors)
    ]
    return pd.concat(tables, ignore_index=True)


def forest_figure(study: LocalisationStudy, figure: str) -> Figure:
    """Return the forest plot of one score: every system, then the maps that look at no image."""
    rows = [(item.name, item.overall.figures[figure]) for item in (*study.systems, *study.priors)]
    level = study.systems[0].overall.chance[figure]
    said = "" if math.isnan(level) else f" (dotted: chance, {level:.3f})"
    title = f"{thousands(len(study.images))} images with a mask, {100 * study.sampling.confidence:g} % intervals"
    return forest(rows, None if math.isnan(level) else level, f"{FIGURES[figure]}{said}", title)


def _rows(means: MeanScores) -> list[dict[str, Any]]:
    rows = []
    for name, item in means.figures.items():
        row = {"score": name, "n": item.n, "groups": means.groups, "value": item.value, "low": item.low}
        row |= {"high": item.high, "chance": means.chance[name]}
        if name in means.against:
            gap = means.against[name]
            row |= {"against_centre": gap.difference.value, "against_low": gap.difference.low}
            row |= {"against_high": gap.difference.high, "against_p": gap.p}
        rows.append(row)
    return rows


def _page(study: LocalisationStudy, figures: dict[str, Figure]) -> str:
    return render(
        "osteon.studies",
        "localisation.html.j2",
        study=study,
        confidence=f"{100 * study.sampling.confidence:g} %",
        sentences=sentences(study),
        scores=_scores(study),
        against=_against(study),
        notes=_notes(study),
        called=_called(study),
        regions=_regions(study),
        thresholds=_thresholds(study),
        figures={name: figure_uri(figure) for name, figure in figures.items()},
        methods={item.method: find_explanation(item.method) for item in study.systems},
        gallery=[(item, _captions(item, study)) for item in study.examples],
    )


def sentences(study: LocalisationStudy, figure: str = "pointing_near") -> list[str]:
    """Say for each system whether it points better than the centre of the picture."""
    said = []
    for item in study.systems:
        gap, adjusted = item.overall.against[figure].difference, item.adjusted[figure]
        if not gap.defined or math.isnan(gap.low):
            verdict = "cannot be told from the centre prior"
        elif math.isnan(adjusted) or adjusted >= 1 - study.sampling.confidence:
            verdict = "is not distinguishable from the centre prior"
        else:
            verdict = "points better than the centre prior" if gap.value > 0 else "points worse than the centre prior"
        said.append(
            f"{item.name} {verdict}: {FIGURES[figure]} {item.overall.figures[figure].text()}, "
            f"difference {gap.text().replace('-', '−')}, p after Holm {p_text(adjusted)}."
        )
    return said


def _scores(study: LocalisationStudy) -> Table:
    table = Table(
        [
            "system",
            *(f"{_short(name)}#" for name in FIGURES),
        ]
    )
    for item in study.systems:
        table.add([item.name, *_cells(item.overall, FIGURES)])
    for place, item in enumerate(study.priors):
        kind = "baseline apart" if not place else "baseline"
        table.add([item.name, *_cells(item.overall, FIGURES)], kind)
    level = study.systems[0].overall.chance
    table.add(["chance", *(number(100 * level[name], 2) for name in FIGURES)], "baseline")
    return table


def _against(study: LocalisationStudy) -> Table:
    table = Table(["system − centre prior", *(f"{_short(name)}#" for name in SHOWN), "p, Holm (near)#"])
    for item in (*study.systems, *(prior for prior in study.priors if prior.overall.against)):
        cells = [_percent(item.overall.against[name].difference) for name in SHOWN]
        p = p_cell(item.adjusted.get("pointing_near", math.nan), _why_no_p(item))
        table.add([item.name, *cells, p], "" if item.method else "baseline")
    return table


def _why_no_p(item: System) -> str:
    return why_no_p(item.overall.against["pointing_near"]) if item.method else "no p-value: it looks at no image"


def _notes(study: LocalisationStudy) -> list[str]:
    """Return why systems have no p-value in the table of differences."""
    of_priors = ["–: no p-value: maps that look at no image are not tested."] if study.priors else []
    return [*p_notes((item.name, item.overall.against["pointing_near"]) for item in study.systems), *of_priors]


def _called(study: LocalisationStudy) -> Table:
    table = Table(["system", "called positive#", *(f"{_short(name)}#" for name in SHOWN), "near − centre#"])
    for item in study.systems:
        if item.called is not None:
            test = item.called.against.get("pointing_near")
            cells = _cells(item.called, SHOWN)
            count = f"{item.called.n} of {len(study.images)}"
            table.add([item.name, count, *cells, "–" if test is None else _percent(test.difference)])
    return table


def _regions(study: LocalisationStudy) -> Table:
    table = Table(["region", "system", "n#", *(f"{_short(name)}#" for name in SHOWN), "chance, near#"])
    for region in study.systems[0].by_region:
        for place, item in enumerate((*study.systems, *study.priors)):
            means = item.by_region[region]
            cells = _cells(means, SHOWN)
            head = region if not place else ""
            level = number(100 * means.chance["pointing_near"], 2)
            table.add([head, item.name, thousands(means.n), *cells, level], "" if item.method else "baseline")
    return table


def _thresholds(study: LocalisationStudy) -> Table:
    table = Table(["system", "marked", "ms a map#"])
    for item in (*study.systems, *study.priors):
        marked = "no validation image with a mask" if item.threshold is None else str(item.threshold)
        table.add([item.name, marked, number(item.milliseconds, 1)], "" if item.method else "baseline")
    return table


def _cells(means: MeanScores, names: Iterable[str]) -> list[Cell]:
    return [_percent(means.figures[name]) for name in names]


def _percent(item: Estimate) -> Cell:
    """Show an estimate in percent."""
    return show_estimate(replace(item, value=100 * item.value, low=100 * item.low, high=100 * item.high), 2)


def _captions(example: Example, study: LocalisationStudy) -> list[tuple[str, str]]:
    """Return the pictures of an example: words and data URI; the plain radiograph first."""
    row = study.images.index(example.image_id)
    pixels, mask, _ = next(iter(example.pictures.values()))
    shown = [("radiograph, outline of the mask", picture_uri(overlay(pixels, None, mask, side=SIDE)))]
    for item in study.systems:
        pixels, mask, heat = example.pictures[item.name]
        hit = item.values["pointing_near"][row] > 0.5
        chance = example.probabilities[item.run]
        words = f"{item.name}: p = {chance:.2f}, energy inside {number(item.values['energy'][row])}, "
        shown.append(
            (
                words + ("points near" if hit else "points elsewhere"),
                picture_uri(overlay(pixels, heat, mask, side=SIDE)),
            )
        )
    return shown


def _short(name: str) -> str:
    return {"iou": "IoU", "iou_oracle": "IoU, upper bound"}.get(name, FIGURES[name])
