"""What a second look would have said of held-out images: each seen again by the network that never saw its group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.data.store import ImageStore
from osteon.errors import SettingsError
from osteon.export.evidence import Evidence
from osteon.export.network_graph import network_graph
from osteon.export.squares import BATCH, SquareScorer
from osteon.progress import track
from osteon.run import RunFolder
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork
from osteon.transforms.preprocess import placement
from osteon.transforms.second_look import closer_square, suspicious_window

ENOUGH = -4.6
"""Logit of the first look (1 % before calibration) below which no second one is taken."""


def mirrors(settings: RunSettings) -> bool:
    """Return whether the second look is a mirror image: where the network was taught on such too."""
    return settings.augment.horizontal_flip > 0


def look_again(evidence: Evidence, path: str | Path, side: float) -> Evidence:
    """Return evidence of two looks: where the first logit asks for it, the mean of it and of the second look's.

    Args:
        evidence: Of the first look.
        path: The run, or the folder of the cross-validation, that it comes from.
        side: Of the window, as a share of the image's longer side, above 0 and below 1.

    Returns:
        The same rows; ``first`` and ``second`` are added to the table, the latter NaN where one look was enough, and
        ``logit`` is that of both.

    Raises:
        SettingsError: The side is out of range, or the network draws no map.
        InputError: An image cannot be read any more.
    """
    if not 0 < side < 1:
        raise SettingsError(f"a window of {side:g} times the image's side", where="--second-look", hint="e.g. 0.67")
    table = evidence.table
    second = pd.Series(np.nan, index=table.index)
    for part, rows in table[table["logit"] >= ENOUGH].groupby("part"):
        folder = Path(path) if evidence.kind == "run" else Path(path) / str(part)
        second[rows.index] = _second_logits(RunFolder.open(folder), rows["image_id"], side)
    both = table["logit"].where(second.isna(), (table["logit"] + second) / 2)
    return replace(evidence, table=table.assign(first=table["logit"], second=second, logit=both))


def _second_logits(folder: RunFolder, image_ids: pd.Series[str], side: float) -> NDArray[np.float64]:
    trained = load_run(folder)
    assert isinstance(trained, TrainedNetwork)
    graph, settings = network_graph(trained), trained.settings
    if graph.map is None:
        raise SettingsError("the network draws no map that a second look could follow", where="--second-look")
    scorer = SquareScorer(graph, settings)
    catalogue = Catalogue.read(folder.split)
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    maps = scorer.run(store.pixels[store.rows(image_ids)], ["map"])["map"]
    paths = catalogue.images.set_index("image_id")["path"][image_ids]
    size, fit = settings.store.size, settings.store.fit
    logits: list[NDArray[Any]] = []
    starts = range(0, len(maps), BATCH)
    for start in track(starts, "Looking again"):
        squares = []
        for file, cells in zip(paths[start : start + BATCH], maps[start : start + BATCH], strict=True):
            grey = read_image(file).eight_bit()
            window = suspicious_window(cells, placement(grey.shape[0], grey.shape[1], size, fit), side)
            squares.append(closer_square(grey, window, size, fit, mirrored=mirrors(settings)))
        logits.append(scorer.run(np.stack(squares), ["logit"])["logit"])
    return np.concatenate(logits).astype(np.float64)
