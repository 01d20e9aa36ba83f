"""MURA v1.1's own tree, a part of it, or phantoms in the same layout.

Rajpurkar et al., MURA: Large Dataset for Abnormality Detection in Musculoskeletal Radiographs, arXiv:1712.06957.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.data.catalogue import BOX_COLUMNS, Catalogue
from osteon.data.listing import find_file, is_image_name, is_printable, list_folder, printable
from osteon.errors import InputError, Refusal
from osteon.progress import track
from osteon.run import read_json

SPLITS = ("train", "valid")
MARKER = "PHANTOMS.json"

PUBLISHED_IMAGES = {
    "train": {
        "elbow": 4931,
        "finger": 5106,
        "forearm": 1825,
        "hand": 5543,
        "humerus": 1272,
        "shoulder": 8379,
        "wrist": 9752,
    },
    "valid": {
        "elbow": 465,
        "finger": 461,
        "forearm": 301,
        "hand": 460,
        "humerus": 288,
        "shoulder": 563,
        "wrist": 659,
    },
}
"""Images of MURA v1.1 by split and region."""

PUBLISHED_STUDIES = {
    "train": {
        "elbow": 1754,
        "finger": 1935,
        "forearm": 877,
        "hand": 2018,
        "humerus": 592,
        "shoulder": 2821,
        "wrist": 3460,
    },
    "valid": {
        "elbow": 158,
        "finger": 175,
        "forearm": 133,
        "hand": 167,
        "humerus": 135,
        "shoulder": 194,
        "wrist": 237,
    },
}
"""Studies of MURA v1.1 by split and region (the paper's Table 1, normal and abnormal added up)."""

_SOURCE = {
    "name": "MURA v1.1",
    "citation": "Rajpurkar et al. 2017, MURA: Large Dataset for Abnormality Detection in Musculoskeletal Radiographs",
    "address": "https://stanfordmlgroup.github.io/competitions/mura/",
    "licence": "Stanford University School of Medicine MURA Dataset Research Use Agreement; not to be passed on",
}

_STUDY = re.compile(
    r"(?:/(?P<split>train|valid)/|/)(?P<region>(?i:XR_[a-z]+))/(?:(?P<inner>train|valid)/)?"
    r"(?P<patient>(?i:patient)[^/]+)/(?P<study>(?i:study)[^/]*_(?P<label>(?i:positive|negative)))$"
)


def looks_like_mura(path: Path) -> bool:
    """Whether a folder is MURA's root, a split, a region's folder, or a folder that holds region folders."""
    return _region_folders(path) != []


def read_mura(path: Path) -> Catalogue:
    """Catalogue MURA, or one region, one split, a renamed copy, or phantoms that lie in MURA's layout.

    Labels come from the study folders' names (``positive`` is 1: abnormal, which is more than fractured). The four
    CSV files, in the folder or up to two above, are compared with the folders where they are there.

    Args:
        path: The data set's root, ``…/train``, ``…/train/XR_HUMERUS``, or any folder that holds ``XR_…`` folders.

    Raises:
        InputError: There is no study in the folder.
    """
    path = path.absolute()
    root = _root_of(path)
    images, unprintable, passed_over = _images(_region_folders(path))
    if images.empty:
        raise InputError(
            "no studies of MURA's layout with images in them",
            where=path,
            hint="Expected XR_<REGION>/patient<N>/study<K>_positive|negative/image<J>.png",
        )
    listed = _Listed.read(root)
    marker = read_json(root / MARKER) if find_file(root / MARKER) else None
    phantoms = isinstance(marker, dict)
    if phantoms:
        images = _with_views(images, root)
    return Catalogue(
        images=images,
        target=str(marker.get("target", "fractured")) if isinstance(marker, dict) else "abnormal",
        name="phantoms" if phantoms else "MURA",
        root=root,
        boxes=_phantom_boxes(root, images) if phantoms else pd.DataFrame(columns=list(BOX_COLUMNS)),
        source={"reader": "mura", **({**marker, "synthetic": True} if isinstance(marker, dict) else _SOURCE)},
        warnings=(*_warnings(images, listed, passed_over), *(() if phantoms else _count_warning(images))),
        refusals=(
            *(Refusal(printable(name), "name", "its name, or its folder's, is not UTF-8") for name in unprintable),
            *_missing(images, listed, root),
        ),
    )


def _region_folders(path: Path) -> list[Path]:
    """Return the folders that hold patients, whichever level of the tree was given."""
    if _is_region(path.absolute().name):
        inner = [path / name for name in SPLITS if list_folder(path / name)[0]]
        return inner or ([path] if any(name.lower().startswith("patient") for name in list_folder(path)[0]) else [])
    parents = [path, *(path / split for split in SPLITS)]
    regions = [parent / name for parent in parents for name in list_folder(parent)[0] if _is_region(name)]
    return [folder for region in regions for folder in _region_folders(region)]


def _is_region(name: str) -> bool:
    return name.upper().startswith("XR_")


def _root_of(path: Path) -> Path:
    """Return the nearest folder, the given one or up to three above, with the data set's own files."""
    files = [MARKER, *(f"{split}_image_paths.csv" for split in SPLITS)]
    for folder in (path, *list(path.parents)[:3]):
        if any(find_file(folder / name) for name in files):
            return folder
    inside = [index for index, part in enumerate(path.parts) if part in SPLITS or _is_region(part)]
    return Path(*path.parts[: inside[0]]) if inside and inside[0] > 0 else path


def _images(folders: list[Path]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return a row per image, the images whose paths are not UTF-8, and the folders whose images are passed over.

    An image's id and its study's are their paths in the CSV files, without the root.
    """
    passed_over: list[str] = []
    rows = [row for folder in track(folders, "Listing studies") for row in _rows_of_region(str(folder), passed_over)]
    columns = ["image_id", "path", "study_id", "patient_id", "region", "label", "split"]
    images = pd.DataFrame([row for row in rows if is_printable(row[0])], columns=columns)
    return images, [row[1] for row in rows if not is_printable(row[0])], passed_over


def _rows_of_region(folder: str, passed_over: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one region; folders with images that are no studies are added to ``passed_over``."""
    for patient in list_folder(folder)[0]:
        studies, loose = list_folder(f"{folder}/{patient}")
        if any(map(is_image_name, loose)):
            passed_over.append(f"{folder}/{patient}")
        for name in studies:
            study = f"{folder}/{patient}/{name}"
            found = _STUDY.search(study.replace("\\", "/"))
            if found is None:
                if any(map(is_image_name, list_folder(study)[1])):
                    passed_over.append(study)
                continue
            split = found["split"] or found["inner"] or ""
            place = found["region"].upper()
            study_id = "/".join(part for part in (split, place, patient, name) if part)
            region = place.removeprefix("XR_").lower()
            label = int(found["label"].lower() == "positive")
            patient_id = patient.lower()
            for image in list_folder(study)[1]:
                if is_image_name(image):
                    yield f"{study_id}/{image}", f"{study}/{image}", study_id, patient_id, region, label, split


@dataclass(frozen=True)
class _Listed:
    """What the CSV files of the root say, paths without their first part (the root's original name)."""

    images: dict[str, str]
    labels: dict[str, int]
    splits: frozenset[str]

    @classmethod
    def read(cls, root: Path) -> _Listed:
        images: dict[str, str] = {}
        labels: dict[str, int] = {}
        splits = set()
        for split in SPLITS:
            paths = root / f"{split}_image_paths.csv"
            studies = root / f"{split}_labeled_studies.csv"
            if find_file(paths):
                splits.add(split)
                images.update(dict.fromkeys(_without_root(_csv(paths, 1)[0]), paths.name))
            if find_file(studies):
                table = _csv(studies, 2)
                labels.update(zip(_without_root(table[0]), table[1].astype(int), strict=True))
        return cls(images, labels, frozenset(splits))


def _csv(path: Path, columns: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, header=None, names=list(range(columns)), usecols=range(columns), dtype={0: str})
        return table.dropna().astype({1: int}) if columns > 1 else table.dropna()
    except pd.errors.EmptyDataError:
        return pd.DataFrame({index: pd.Series(dtype=str) for index in range(columns)})
    except (ValueError, OSError) as error:
        raise InputError(f"not a CSV in MURA's form: {error}", where=path) from None


def _without_root(paths: pd.Series[Any]) -> list[str]:
    return [str(item).strip("/").partition("/")[2] for item in paths]


def _warnings(images: pd.DataFrame, listed: _Listed, passed_over: list[str]) -> Iterator[str]:
    if passed_over:
        example = printable("/".join(Path(passed_over[0]).parts[-3:]))
        yield (
            f"folders with images that are not named patient<N>/study<K>_positive or _negative, left out: "
            f"{len(passed_over)}, e.g. {example}"
        )
    unlisted = images[images["split"].isin(list(listed.splits)) & ~images["image_id"].isin(listed.images.keys())]
    if len(unlisted):
        example = unlisted["image_id"].iloc[0]
        yield f"images in the folders but not in the CSV files: {len(unlisted)}, e.g. {example}; they are included"
    studies = images.drop_duplicates("study_id").set_index("study_id")["label"]
    wrong = [name for name, label in studies.items() if listed.labels.get(str(name), label) != label]
    if wrong:
        yield (
            f"studies with another label in the CSV files than in their folder's name: {len(wrong)}, e.g. {wrong[0]}; "
            "the folder's name is used"
        )
    absent = sorted({_region_of(name) for name in listed.images} - {_region_of(name) for name in images["image_id"]})
    if absent and set(images["split"]) == set(listed.splits):
        yield f"the CSV files list more regions than are here: {', '.join(absent)} not found"


def _region_of(image_id: str) -> str:
    return "/".join(image_id.split("/")[:2])


def _missing(images: pd.DataFrame, listed: _Listed, root: Path) -> tuple[Refusal, ...]:
    """Return a refusal for every listed image of the folders read that is not on disk."""
    here = {_region_of(name) for name in images["image_id"]}
    known = set(images["image_id"])
    return tuple(
        Refusal(str(root / name), "missing", f"listed in {table}, but not on disk")
        for name, table in listed.images.items()
        if name not in known and _region_of(name) in here
    )


def _count_warning(images: pd.DataFrame) -> Iterator[str]:
    """Compare with the published counts, for the regions and splits that are here."""
    counts = images.groupby(["split", "region"]).agg(images=("image_id", "size"), studies=("study_id", "nunique"))
    parts = []
    for row in counts.reset_index().to_dict("records"):
        split, region = row["split"], row["region"]
        expected = PUBLISHED_IMAGES.get(split, {}).get(region), PUBLISHED_STUDIES.get(split, {}).get(region)
        if expected[0] is not None and expected != (row["images"], row["studies"]):
            parts.append(
                f"{split} {region} {row['images']:,} images in {row['studies']:,} studies "
                f"instead of {expected[0]:,} in {expected[1]:,}"
            )
    if parts:
        yield f"this copy differs from the published MURA v1.1: {'; '.join(parts)}"


def _with_views(images: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Add the views that the phantoms' generator wrote down."""
    facts = _phantom_table(root / "phantoms.csv", ["image_id", "view"])
    return images.merge(facts, on="image_id", how="left")


def _phantom_boxes(root: Path, images: pd.DataFrame) -> pd.DataFrame:
    """Return the boxes of breaks that the phantoms' generator wrote, of the images read."""
    boxes = _phantom_table(root / "boxes.csv", list(BOX_COLUMNS))
    return boxes[boxes["image_id"].isin(images["image_id"])].reset_index(drop=True)


def _phantom_table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not find_file(path):
        return pd.DataFrame(columns=columns)
    try:
        return pd.read_csv(path, dtype={"image_id": str, "view": str, "kind": str}, usecols=columns)[columns]
    except (ValueError, OSError) as error:
        raise InputError(f"not a table of phantoms: {error}", where=path) from None
