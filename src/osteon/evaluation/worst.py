"""The errors a model was surest of, with their pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import Catalogue
from osteon.data.grey_values import read_pictures
from osteon.pages.html import thumbnail

SIDE = 320


@dataclass(frozen=True, slots=True)
class WrongCall:
    """An image that was called wrongly.

    Attributes:
        image_id: Its name.
        region: Its region, perhaps several joined by ``|``; "" if unknown.
        label: 0 or 1.
        probability: Predicted.
        pixels: The picture, longest side at most :data:`SIDE`; None if it cannot be read.
    """

    image_id: str
    region: str
    label: int
    probability: float
    pixels: NDArray[np.uint8] | None = None

    @property
    def uri(self) -> str | None:
        """The picture as a data URI."""
        return None if self.pixels is None else thumbnail(self.pixels, SIDE)


def worst_errors(
    predictions: pd.DataFrame, threshold: float, catalogue: Catalogue | None = None, most: int = 12
) -> tuple[list[WrongCall], list[WrongCall]]:
    """Find the surest wrong calls.

    Args:
        predictions: Rows of the predictions contract that are scored, of one model.
        threshold: Of a positive call.
        catalogue: Where the pictures are; None: no pictures.
        most: Of each kind.

    Returns:
        False alarms (class 0, highest probability first) and misses (class 1, lowest first).
    """
    rows = predictions.sort_values(["probability", "image_id"], kind="stable")
    called = rows["probability"] >= threshold
    alarms = rows[(rows["label"] == 0) & called].iloc[::-1][:most]
    misses = rows[(rows["label"] == 1) & ~called][:most]
    return _with_pictures(alarms, catalogue), _with_pictures(misses, catalogue)


def _with_pictures(rows: pd.DataFrame, catalogue: Catalogue | None) -> list[WrongCall]:
    pictures: dict[str, NDArray[np.uint8]] = {}
    if catalogue is not None:
        pictures, _ = read_pictures(catalogue.images[catalogue.images["image_id"].isin(rows["image_id"])], SIDE)
    return [
        WrongCall(
            image_id=str(row["image_id"]),
            region=str(row["region"]),
            label=int(row["label"]),
            probability=float(row["probability"]),
            pixels=pictures.get(str(row["image_id"])),
        )
        for row in rows.to_dict("records")
    ]
