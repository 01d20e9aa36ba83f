"""Whether images are of a data set that a model was taught on: by names alone, as a model file lists no images."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from osteon.data.catalogue import Catalogue

LEAST_NAME = 4
"""Letters that a data set's name needs to be looked for among the folders of images."""

ANYONES = frozenset(
    {"cohort", "data", "dataset", "images", "pictures", "radiographs", "table", "test", "train", "training", "valid"}
)
"""Names of folders that say nothing of whose images they hold."""

_BETWEEN = re.compile(r"(?:, with |, after |, by teachers of | and )[\d,]+ of ")


def joined_names(name: str) -> set[str]:
    """Return the data sets that a record's name of them means, in small letters, with the name as a whole.

    A model taught on several names all: "A, with 20 of B and 30 of C, after 1,000 of D, by
    teachers of 50 of E".
    """
    name = name.casefold()
    return {part for part in (name, *_BETWEEN.split(name)) if part}


def seems_taught_on(catalogue: Catalogue, taught: str, attribution: str = "", *, regions: Collection[str] = ()) -> bool:
    """Return whether images seem to be of the data that a model was taught on: by name, citation or folder.

    A folder called as anyone's may be (``images``), or as a region, tells nothing.

    Args:
        catalogue: The images, with those that were joined to them for training.
        taught: Name of the model's data, as its record gives it.
        attribution: Of the model's data.
        regions: That the model was taught on.
    """
    words = joined_names(taught)
    others = [str(other.get("name") or "") for other in catalogue.source.get("also_train", [])]
    names = (catalogue.name, str(catalogue.source.get("name") or ""), *others)
    if words & {name.casefold() for name in names}:
        return True
    citation = str(catalogue.source.get("citation") or "")
    if citation and citation in attribution:
        return True
    folders = {part.casefold() for path in catalogue.images["path"].unique() for part in Path(path).parts[:-1]}
    telling = words - ANYONES - {region.casefold() for region in regions}
    return any(len(word) >= LEAST_NAME and word in folders for word in telling)
