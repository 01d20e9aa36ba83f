"""What makes a calibration doubtful: a fit that stands at its limit, or that rests on few images."""

from __future__ import annotations

import pandas as pd

from osteon.export.evidence import SITE_GROUPS
from osteon.statistics.intervals import class_sizes
from osteon.statistics.recalibration import COLDEST, HOTTEST, PlattScaling

FEW_GROUPS = SITE_GROUPS
"""Patients or groups of a class below which a calibration is called weak: a site's images are then refused."""


def fit_doubts(rows: pd.DataFrame, scaling: PlattScaling, alone: PlattScaling) -> tuple[str, ...]:
    """Return a sentence for everything that makes a calibration doubtful; none where nothing does.

    Args:
        rows: What it was fitted on: ``label``, ``group``.
        scaling: The fit.
        alone: That of the first look alone; the same where there is no closer one.
    """
    found = [_limit(scaling, "The temperature")]
    if alone != scaling:
        found.append(_limit(alone, "The temperature of the first look alone"))
    return tuple(text for text in (*found, _few(rows)) if text)


def _limit(scaling: PlattScaling, what: str) -> str:
    if scaling.temperature >= HOTTEST:
        return (
            f"{what} stands at the highest that a fit may take, {HOTTEST:g}: on the images that it was fitted on, the "
            "network's logits hardly tell the classes apart, so that all probabilities are nearly the same."
        )
    if scaling.temperature <= COLDEST:
        return (
            f"{what} stands at the lowest that a fit may take, {COLDEST:g}: the network's logits hardly differ, and "
            "are spread as far as that allows, so that small changes of an image may change its probability much."
        )
    return ""


def _few(rows: pd.DataFrame) -> str:
    labels = rows["label"].to_numpy(dtype=float)
    positive, negative = class_sizes(labels, rows["group"].to_numpy())
    if min(positive, negative) >= FEW_GROUPS:
        return ""
    positives = int(labels.sum())
    return (
        f"Calibration, thresholds and quantiles rest on few images: {len(labels) - positives} negative ones of "
        f"{negative} patients or groups and {positives} positive ones of {positive}. Of fewer than {FEW_GROUPS} "
        "of a class, probabilities, thresholds and verdicts are mostly chance."
    )
