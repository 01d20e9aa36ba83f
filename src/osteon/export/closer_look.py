"""What a closer look would have said of held-out images: each seen by the network that never saw its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from osteon.export.model_card import LEAST_SIDE, CloserLook
from osteon.export.network_graph import network_graph
from osteon.export.squares import BATCH, SquareScorer
from osteon.progress import track
from osteon.run import RunFolder
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork
from osteon.transforms.closer_look import closer_square, suspicious_window
from osteon.transforms.preprocess import placement

ENOUGH = -4.6
"""Logit of the first look (1 % before calibration) below which there is no closer one."""


def closer_look(settings: RunSettings, side: float) -> CloserLook:
    """Return the rule of the closer look for a network.

    Args:
        settings: Of its run; a network that was taught on mirror images looks at one.
        side: Of the window, as a share of the image's longer side, from 0.01 on and below 1.

    Raises:
        SettingsError: The side is out of range.
    """
    if not LEAST_SIDE <= side < 1:
        raise SettingsError(f"a window of {side:g} times the image's side", where="--closer-look", hint="e.g. 0.6")
    return CloserLook(side=side, mirrored=settings.augment.horizontal_flip > 0, from_logit=ENOUGH)


def look_closer(evidence: Evidence, path: str | Path, side: float) -> Evidence:
    """Return evidence of both looks: the mean of their logits, where the first asks for a closer one.

    Args:
        evidence: Of the first look.
        path: The run, or the folder of the cross-validation, that it comes from.
        side: See :func:`closer_look`.

    Returns:
        The same rows; ``first`` and ``second`` (their logits, the latter NaN where one look was enough) are added to
        the table, and ``logit`` is the mean.

    Raises:
        SettingsError: The side is out of range, or the network draws no map.
        InputError: An image cannot be read any more.
    """
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
    rule = closer_look(settings, side)
    if graph.map is None:
        raise SettingsError("the network draws no map that could say where to look", where="--closer-look")
    scorer = SquareScorer(graph, settings)
    catalogue = Catalogue.read(folder.split)
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    maps = scorer.run(store.pixels[store.rows(image_ids)], ["map"])["map"]
    paths = catalogue.images.set_index("image_id")["path"][image_ids]
    return closer_logits(scorer, settings, rule, list(paths), maps)


def closer_logits(
    scorer: SquareScorer, settings: RunSettings, rule: CloserLook, paths: Sequence[str], maps: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the logits of a closer look at each image, shape ``(n,)``.

    Args:
        scorer: Runs the network.
        settings: Of its run.
        rule: Where to look.
        paths: Files of the images.
        maps: What the first look drew of them, shape ``(n, h, w)``.
    """
    size, fit = settings.store.size, settings.store.fit
    logits = [np.empty(0)]
    for start in track(range(0, len(maps), BATCH), "Looking closer"):
        squares = []
        for file, cells in zip(paths[start : start + BATCH], maps[start : start + BATCH], strict=True):
            grey = read_image(file).eight_bit()
            window = suspicious_window(cells, placement(grey.shape[0], grey.shape[1], size, fit), rule.side)
            squares.append(closer_square(grey, window, size, fit, mirrored=rule.mirrored))
        logits.append(scorer.run(np.stack(squares), ["logit"])["logit"])
    return np.concatenate(logits).astype(np.float64)
