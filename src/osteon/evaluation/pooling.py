"""From the views of a study to its one probability."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import SEPARATOR, names_in

Pooling = Literal["mean", "max", "median", "noisy_or"]


def pool_studies(predictions: pd.DataFrame, pooling: Pooling = "mean") -> pd.DataFrame:
    """Return one row per study in the columns of the predictions contract.

    A study is of class 1 if any of its images is; its regions are those of its images; its group, patient and split are
    those of its first image; its ``image_id`` is the study's name and its view is empty.

    Args:
        predictions: Rows that keep the predictions contract, of one model.
        pooling: ``mean`` (MURA's own), ``max``, ``median``, or ``noisy_or``: the chance that any view is positive if
            the views were independent, ``1 - prod(1 - p)``.
    """
    studies = predictions.groupby("study_id", sort=False)
    pooled = studies.first()
    pooled["label"] = studies["label"].max()
    pooled["region"] = studies["region"].agg(lambda column: SEPARATOR.join(names_in(column)))
    pooled["probability"] = _noisy_or(predictions) if pooling == "noisy_or" else studies["probability"].agg(pooling)
    pooled["view"] = ""
    pooled = pooled.reset_index()
    pooled["image_id"] = pooled["study_id"]
    return pooled[list(predictions.columns)]


def _noisy_or(predictions: pd.DataFrame) -> pd.Series[float]:
    """Return the chance of any view being positive by study; a single view keeps its own probability exactly."""
    studies = predictions.groupby("study_id", sort=False)["probability"]
    chance = 1 - studies.agg(lambda values: float(np.prod(1 - values)))
    return chance.where(studies.size() > 1, studies.first())


def has_several_views(predictions: pd.DataFrame) -> bool:
    """Return whether any study has more than one image."""
    return bool(predictions["study_id"].duplicated().any())


def group_numbers(predictions: pd.DataFrame) -> NDArray[np.intp]:
    """Return the group of each row as numbers from 0, shape ``(n,)``."""
    return np.asarray(pd.factorize(predictions["group_id"])[0], dtype=np.intp)
