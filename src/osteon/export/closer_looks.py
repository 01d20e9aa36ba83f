"""What closer looks would have said of held-out images: each seen by the network that never saw its group."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.data.store import ImageStore
from osteon.errors import SettingsError
from osteon.export.evidence import Evidence
from osteon.export.model_card import CloserLooks
from osteon.export.network_graph import network_graph
from osteon.export.squares import SquareScorer
from osteon.progress import track
from osteon.run import RunFolder
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork
from osteon.transforms.closer_look import MOST, Window, closer_square, suspicious_window, wants_closer_look
from osteon.transforms.preprocess import placement

ENOUGH = -4.6
"""Logit of the first look (1 % before calibration) below which it is the only one."""

UNSURE = 3.0
"""Distance from 0 of the looks' mean logit (5 and 95 % before calibration) within which there is another one."""

BATCH = 16


def closer_looks(settings: RunSettings, side: float) -> CloserLooks:
    """Return the rule of closer looks for a network.

    Args:
        settings: Of its run; a network that was taught on mirror images looks at one first.
        side: Of the window, as a share of the image's longer side, above 0 and below 1.

    Raises:
        SettingsError: The side is out of range.
    """
    if not 0 < side < 1:
        raise SettingsError(f"a window of {side:g} times the image's side", where="--closer-looks", hint="e.g. 0.6")
    mirrored = settings.augment.horizontal_flip > 0
    return CloserLooks(side=side, mirrored=mirrored, from_logit=ENOUGH, again_within=UNSURE)


def look_closer(evidence: Evidence, path: str | Path, side: float) -> Evidence:
    """Return evidence of all looks: the mean of their logits, where the first asks for more than one.

    Args:
        evidence: Of the first look.
        path: The run, or the folder of the cross-validation, that it comes from.
        side: See :func:`closer_looks`.

    Returns:
        The same rows; ``first`` (its logit) and ``looks`` (how many) are added to the table, and ``logit`` is the mean.

    Raises:
        SettingsError: The side is out of range, or the network draws no map.
        InputError: An image cannot be read any more.
    """
    table = evidence.table
    found = pd.DataFrame({"logit": table["logit"], "looks": 1})
    for part, rows in table.groupby("part"):
        folder = Path(path) if evidence.kind == "run" else Path(path) / str(part)
        found.loc[rows.index] = _all_looks(RunFolder.open(folder), rows, side)
    return replace(evidence, table=table.assign(first=table["logit"], **found))


@dataclass
class _Seen:
    """An image that is looked at more than once."""

    row: int
    path: str
    cells: NDArray[np.float32]
    logits: list[float]
    windows: list[Window] = field(default_factory=list)


def _all_looks(folder: RunFolder, rows: pd.DataFrame, side: float) -> pd.DataFrame:
    """Return mean logit and number of looks of rows of an evidence table."""
    trained = load_run(folder)
    assert isinstance(trained, TrainedNetwork)
    graph, settings = network_graph(trained), trained.settings
    rule = closer_looks(settings, side)
    if graph.map is None:
        raise SettingsError("the network draws no map that could say where to look", where="--closer-looks")
    scorer = SquareScorer(graph, settings)
    catalogue = Catalogue.read(folder.split)
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    wanting = np.flatnonzero(
        [wants_closer_look([first], rule.from_logit, rule.again_within) for first in rows["logit"]]
    )
    names = rows["image_id"].iloc[wanting]
    maps = scorer.run(store.pixels[store.rows(names)], ["map"])["map"] if len(names) else ()
    paths = catalogue.images.set_index("image_id")["path"][names]
    firsts = rows["logit"].iloc[wanting]
    images = [
        _Seen(int(row), path, cells, [first])
        for row, path, cells, first in zip(wanting, paths, maps, firsts, strict=True)
    ]
    for start in track(range(0, len(images), BATCH), "Looking closer"):
        _look(images[start : start + BATCH], scorer, settings, rule)
    logits, looks = rows["logit"].to_numpy(dtype=float, copy=True), np.ones(len(rows), dtype=int)
    for image in images:
        logits[image.row], looks[image.row] = np.mean(image.logits), len(image.logits)
    return pd.DataFrame({"logit": logits, "looks": looks}, index=rows.index)


def _look(images: list[_Seen], scorer: SquareScorer, settings: RunSettings, rule: CloserLooks) -> None:
    """Take all closer looks at some images, a batch of them at a time."""
    size, fit = settings.store.size, settings.store.fit
    greys = {image.row: read_image(image.path).eight_bit() for image in images}
    for number in range(MOST):
        asking = [image for image in images if wants_closer_look(image.logits, rule.from_logit, rule.again_within)]
        if not asking:
            return
        squares = []
        for image in asking:
            grey = greys[image.row]
            place = placement(grey.shape[0], grey.shape[1], size, fit)
            image.windows.append(suspicious_window(image.cells, place, rule.side, image.windows))
            squares.append(closer_square(grey, image.windows[-1], size, fit, mirrored=rule.mirrors(number)))
        for image, logit in zip(asking, scorer.run(np.stack(squares), ["logit"])["logit"], strict=True):
            image.logits.append(float(logit))
