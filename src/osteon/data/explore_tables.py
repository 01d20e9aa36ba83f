"""What a catalogue holds, counted: studies of patients, labels by region and view, images of studies."""

from __future__ import annotations

from typing import Any

import pandas as pd

from osteon.data.catalogue import SPLITS, split_names

UNKNOWN = "unknown"
MOST_STUDIES = 4
"""Patients with this many studies or more are counted together."""


def by_split(images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each split that occurs, in order; ``"all"`` alone where there are no splits.

    Rows without a split beside others with one are named ``"no split"``.
    """
    parts = {name: images[images["split"] == name] for name in SPLITS}
    rest = images[images["split"] == ""]
    if len(rest) == len(images):
        return {"all": images}
    return {name: rows for name, rows in {**parts, "no split": rest}.items() if len(rows)}


def exploded(images: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return one row for each name in a ``region`` or ``view`` column; unknown ones are named so."""
    names = images[column].map(lambda text: split_names(text) or [UNKNOWN])
    return images.assign(**{column: names}).explode(column, ignore_index=True)


def studies_per_patient(images: pd.DataFrame) -> pd.DataFrame:
    """Count patients by how many studies of a region they have.

    Returns:
        Columns ``split, region, studies`` (1 to :data:`MOST_STUDIES`, the last for that many or more) and
        ``patients``; empty if no patient is known. A study of two regions counts for both.
    """
    parts = []
    for split, rows in by_split(images[images["patient_id"] != ""]).items() if len(images) else ():
        each = exploded(rows, "region").groupby(["region", "patient_id"])["study_id"].nunique().clip(upper=MOST_STUDIES)
        counts = each.rename("studies").reset_index().groupby(["region", "studies"]).size()
        parts.append(counts.rename("patients").reset_index().assign(split=split))
    columns = ["split", "region", "studies", "patients"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[columns]


def studies(images: pd.DataFrame) -> pd.DataFrame:
    """Return one row per study: ``study_id, split, region, label, images``.

    A study is positive if any of its images is, and of unknown label if none of its labels is known.
    """
    grouped = images.groupby("study_id", sort=False)
    table = grouped.agg(split=("split", "first"), region=("region", _joined), label=("label", "max"))
    return table.assign(images=grouped.size()).reset_index()


def balance(images: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count labels by region or view, most frequent first.

    Returns:
        Columns ``name, negative, positive, unknown, total``; an image with several names counts for each.
    """
    rows = exploded(images, column)
    label = rows["label"]
    counts = pd.DataFrame(
        {
            "name": rows[column],
            "negative": (label == 0).fillna(False).astype(int),
            "positive": (label == 1).fillna(False).astype(int),
            "unknown": label.isna().astype(int),
        }
    )
    table = counts.groupby("name", as_index=False).sum()
    table["total"] = table[["negative", "positive", "unknown"]].sum(axis=1)
    return table.sort_values(["total", "name"], ascending=[False, True], ignore_index=True)


def images_per_study(images: pd.DataFrame) -> pd.DataFrame:
    """Count studies by their number of images and label; columns ``images, negative, positive, unknown``."""
    table = studies(images)
    counts = table.assign(
        negative=(table["label"] == 0).fillna(False).astype(int),
        positive=(table["label"] == 1).fillna(False).astype(int),
        unknown=table["label"].isna().astype(int),
    )
    return counts.groupby("images", as_index=False)[["negative", "positive", "unknown"]].sum()


def overview(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each split its images, studies, patients (None where unknown) and labels."""
    rows = []
    for split, part in by_split(images).items():
        patients = part.loc[part["patient_id"] != "", "patient_id"].nunique()
        rows.append(
            {
                "split": split,
                "images": len(part),
                "studies": int(part["study_id"].nunique()),
                "patients": int(patients) or None,
                "negative": int((part["label"] == 0).sum()),
                "positive": int((part["label"] == 1).sum()),
                "unknown": int(part["label"].isna().sum()),
            }
        )
    return rows


def class_words(name: str, target: str) -> str:
    """Return ``negative``, ``positive`` or ``unknown`` in words, e.g. ``"not fractured"``."""
    return {"negative": f"not {target}", "positive": target}.get(name, "label unknown")


def _joined(regions: pd.Series[Any]) -> str:
    return "|".join(sorted({name for text in regions for name in split_names(text)}))
