"""Groups shared out so that every part looks like the whole: the arithmetic behind the splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import has_name, split_names
from osteon.data.duplicates import components

MOST_REGIONS = 30


def group_codes(images: pd.DataFrame) -> NDArray[np.int64]:
    """Number the groups that must stay together, shape ``(n,)``.

    Images that share a ``group_id``, a ``patient_id`` or a ``study_id`` are of one group, and so is whatever hangs
    together through several of these; an image that shares none is a group of its own.
    """
    n = len(images)
    keys = ("group_id", "patient_id", "study_id")
    pairs = [_first_with_same(images[key].to_numpy(dtype=object)) for key in keys]
    here, first = np.tile(np.arange(n), len(pairs)), np.concatenate(pairs)
    return components(n, here, first).astype(np.int64)


def strata(images: pd.DataFrame) -> NDArray[np.float64]:
    """Return what is to be balanced as columns of 0 and a weight, shape ``(n, k)``.

    All images (weight 4); each label (2); each of the 30 commonest regions and each label within it (1).
    """
    labels = images["label"]
    classes = [(labels == 0), (labels == 1)]
    by_label = [column.fillna(False).to_numpy(dtype=bool) for column in classes] + [labels.isna().to_numpy()]
    names = pd.Series([name for text in images["region"] for name in split_names(text)], dtype=str)
    regions = [has_name(images["region"], name) for name in names.value_counts().index[:MOST_REGIONS]]
    both = [label & region for region in regions for label in by_label]
    every = np.ones(len(images), dtype=bool)
    columns = np.stack([every, *by_label, *regions, *both], axis=1).astype(np.float64)
    columns[:, 0] *= 4
    columns[:, 1:4] *= 2
    return columns[:, columns.any(axis=0)]


def share_out(
    groups: NDArray[np.int64],
    columns: NDArray[np.float64],
    classes: NDArray[np.bool_],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Give each group whole to one part.

    The largest groups first, equal ones in random order, each goes where it lowers the chi-square distance between
    the parts' column sums and their targets most (the greedy rule of scikit-learn's StratifiedGroupKFold, for unequal
    shares). Groups are then moved to parts that lack a class, where one can be spared.

    Args:
        groups: Group number of each image, 0 to g - 1, shape ``(n,)``.
        columns: What to balance, shape ``(n, k)``, no column all zero; the first one is the size.
        classes: Which images are of each class, shape ``(n, c)``.
        shares: Share of each part, above 0, sum 1, shape ``(p,)``.
        rng: Decides among equals.

    Returns:
        Part of each image, shape ``(n,)``.
    """
    sums = _group_sums(groups, columns)
    targets = shares[:, None] * columns.sum(axis=0)
    filled = np.zeros_like(targets)
    parts = np.empty(len(sums), dtype=np.int64)
    shuffled = rng.permutation(len(sums))
    for group in shuffled[np.argsort(-sums[shuffled, 0], kind="stable")]:
        row = sums[group]
        cost = ((row * row + 2 * row * (filled - targets)) / targets).sum(axis=1)
        part = int(cost.argmin())
        parts[group] = part
        filled[part] += row
    _cover(parts, _group_sums(groups, classes.astype(np.float64)) > 0, sums[:, 0], len(shares))
    return parts[groups]


def _cover(
    parts: NDArray[np.int64], holds: NDArray[np.bool_], sizes: NDArray[np.float64], number_of_parts: int
) -> None:
    """Move the smallest group that can be spared into each part that lacks a class."""
    for part in range(number_of_parts):
        for kind in range(holds.shape[1]):
            if holds[parts == part, kind].any():
                continue
            spare = [group for group in np.flatnonzero(holds[:, kind]).tolist() if _can_be_spared(group, parts, holds)]
            if spare:
                parts[min(spare, key=lambda group: float(sizes[group]))] = part


def _can_be_spared(group: int, parts: NDArray[np.int64], holds: NDArray[np.bool_]) -> bool:
    """Tell whether the group's part keeps every class without it."""
    others = parts == parts[group]
    others[group] = False
    return bool((holds[others].any(axis=0) | ~holds[group]).all() and others.any())


def _group_sums(groups: NDArray[np.int64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros((int(groups.max()) + 1, columns.shape[1]))
    np.add.at(sums, groups, columns)
    return sums


def _first_with_same(ids: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return for each image the first that has its id; itself where the id is empty."""
    codes, values = pd.factorize(ids)
    first = np.full(len(values), len(ids), dtype=np.int64)
    positions = np.arange(len(ids))
    np.minimum.at(first, codes, positions)
    return np.where(ids == "", positions, first[codes])
