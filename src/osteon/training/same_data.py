"""Are runs over the same data: what each recorded of its images, beside other runs' and beside the files as they are.

A run folder's ``split.csv`` holds its catalogue, ``contents.csv`` what its files held. Figures of runs over different
data must not be pooled or compared as if they were of the same.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from osteon.config import RunSettings, keys
from osteon.data.catalogue import SEPARATOR, Catalogue, split_names
from osteon.data.decoding import SourceFile, found
from osteon.data.images import LIMITS
from osteon.data.store import ImageStore
from osteon.data.store_files import open_stored
from osteon.errors import InputError, SettingsError
from osteon.run import RunFolder, atomic_path
from osteon.training.prepare import split_catalogue

CONTENTS = "contents.csv"
SIGNATURE = ("bytes", "modified_ns", "changed_ns")
NOW = "the data as they are now"
TEXTS = ("study_id", "patient_id", "group_id", "region", "view", "split")
MOST = 4
MOVED = "osteon data moved {run} DATA says where they are now"
JOINING = {"also_train", "same_target"}

Scope = Literal["all", "test", "shared"]


def other_settings(found: RunSettings, wanted: RunSettings) -> str:
    """Name the settings in which a run differs from the one wanted, e.g. ``training.epochs is 3, not 5``."""
    pairs = {key: (attrgetter(key)(found), attrgetter(key)(wanted)) for key in keys()}
    texts = [f"{key} is {_text(one)}, not {_text(other)}" for key, (one, other) in pairs.items() if one != other]
    more = f" and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return f"{'; '.join(texts[:MOST])}{more}"


def refuse_other_training(kept: Any, settings: RunSettings, where: Path, machine: Iterable[str]) -> None:
    """Refuse to go on with a training by other settings than it was begun with; on another machine it may.

    Args:
        kept: The settings that it was begun with, as plain data.
        settings: The run's settings as they are now. Those of the data do not count: the data themselves do.
        where: File that has kept them.
        machine: Settings of ``training`` that may be others.

    Raises:
        SettingsError: It names those that somebody has changed.
    """
    begun, wanted = (RunSettings.model_validate(item) for item in (kept, settings.model_dump(mode="json")))
    training = begun.training.model_copy(update={key: getattr(wanted.training, key) for key in machine})
    same = {key: getattr(wanted, key) for key in ("data", "split", "evaluation")}
    if changed := other_settings(begun.model_copy(update={**same, "training": training}), wanted):
        raise SettingsError(
            f"the training to go on with is of other settings than the run's config.yaml: {changed}",
            where=where,
            hint="Put config.yaml back as it was; or train a new run",
        )


def _text(value: Any) -> str:
    return "none" if value is None or value == () else str(value)


class OtherDataError(SettingsError):
    """Runs that belong together are over different data."""


@dataclass(frozen=True)
class DataRecord:
    """What is known of the data of a run.

    Attributes:
        name: The run folder, or :data:`NOW`.
        settings: How the data are read and split.
        catalogue: The images with their split.
        digests: SHA-256 of each file by image, "" of one that cannot be read; None where it was not recorded.
    """

    name: str
    settings: RunSettings
    catalogue: Catalogue
    digests: pd.Series[str] | None

    @classmethod
    def of(cls, run: RunFolder) -> DataRecord:
        """Read what a run has recorded.

        Raises:
            InputError: There is no run, or its files cannot be read.
        """
        contents = read_contents(run)
        digests = None if contents is None else contents["sha256"]
        return cls(str(run.path), run.settings(), Catalogue.read(run.split), digests)


def is_split(run: RunFolder) -> bool:
    """Return whether a run's split is written whole: of its three files the JSON comes last."""
    return run.split.with_suffix(".json").is_file()


def write_contents(run: RunFolder, store: ImageStore) -> None:
    """Write ``contents.csv``: for each image SHA-256, size and times of its file as the store took it up."""
    with atomic_path(run.path / CONTENTS) as temporary:
        _contents(store).to_csv(temporary, quoting=csv.QUOTE_NONNUMERIC)  # a name may hold a line end


def read_contents(run: RunFolder) -> pd.DataFrame | None:
    """Return what :func:`write_contents` wrote, by image; None if there is none.

    Raises:
        InputError: It cannot be read.
    """
    path = run.path / CONTENTS
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("image_id")[["sha256", *SIGNATURE]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"cannot be read: {error}", where=path) from None


def refuse_other_data(
    settings: RunSettings, catalogue: Catalogue, store: ImageStore, runs: Sequence[RunFolder], name: str = NOW
) -> None:
    """Refuse data that are not those of other runs.

    Args:
        settings: How the data were read and split.
        catalogue: The images with their split, before any was refused by the store.
        store: Of these images.
        runs: Whose data they must be.
        name: What to call the data.

    Raises:
        OtherDataError: They differ.
        InputError: A run's record cannot be read.
    """
    if not runs:
        return
    present = DataRecord(name, settings, catalogue, _contents(store)["sha256"])
    for run in runs:
        _refuse(DataRecord.of(run), present, f"Put the data back, or delete {run.path} to train it anew on these data")


def refuse_other_files(run: RunFolder, store: ImageStore) -> None:
    """Refuse to ask a run about images whose files have changed since.

    Args:
        run: Which; one that has not recorded what its files held is not refused.
        store: Of some of its images.

    Raises:
        OtherDataError: They have changed.
        InputError: The run's record cannot be read.
    """
    record = DataRecord.of(run)
    present = DataRecord(NOW, record.settings, record.catalogue, _contents(store)["sha256"])
    _refuse(record, present, "Put the files back, or train anew")


def refuse_other_place(run: RunFolder, catalogue: Catalogue) -> None:
    """Refuse a place to which a run's data are said to have been moved, if a file there holds something else.

    Args:
        run: Which; one that has not recorded what its files held is not refused.
        catalogue: Its images, by their paths there.

    Raises:
        OtherDataError: One does.
        InputError: The run's record cannot be read.
    """
    record = DataRecord.of(run)
    present = DataRecord(str(catalogue.root), record.settings, catalogue, _digests(catalogue, read_contents(run)))
    _refuse(record, present, "Move the data as they were, or train anew")


def one_of_each(runs: Iterable[RunFolder]) -> list[RunFolder]:
    """Return one run for each way in which runs read and split data, once it is sure that all are over the same data.

    Runs without a split are passed over.

    Raises:
        OtherDataError: Two of them are over different data.
        InputError: A run's record cannot be read.
    """
    chosen: dict[str, DataRecord] = {}
    folders = []
    for run in filter(is_split, runs):
        record = DataRecord.of(run)
        key = _key(record.settings)
        for other in [chosen[key]] if key in chosen else chosen.values():
            hint = f"Delete the one whose data are not those you mean, {other.name} or {record.name}, and train it anew"
            _refuse(other, record, hint)
        if key not in chosen:
            chosen[key] = record
            folders.append(run)
    return folders


def refuse_changed(runs: Iterable[RunFolder], hint: str) -> None:
    """Refuse to go on beside runs whose data have changed since; files of unchanged size and times are not read.

    Args:
        runs: From :func:`one_of_each`.
        hint: What to do about it.

    Raises:
        OtherDataError: They have changed.
        OsteonError: The data cannot be read any more.
    """
    for run in runs:
        record = DataRecord.of(run)
        catalogue = split_catalogue(_there(record))
        digests = _digests(catalogue, read_contents(run))
        _refuse(record, DataRecord(NOW, record.settings, catalogue, digests), hint)


def _there(record: DataRecord) -> RunSettings:
    """Return a run's settings, once sure that what they call its data is there.

    Raises:
        InputError: It is not.
    """
    path = record.settings.data.path
    if path is not None and not os.path.lexists(path.expanduser()):
        hint = f"If they were moved: {MOVED.format(run=record.name)}"
        raise InputError(f"the data of {record.name} are not there any more", where=path, hint=hint)
    return record.settings


def differences(one: DataRecord, other: DataRecord) -> list[str]:
    """Say in what the data of the second record differ from those of the first; empty if in nothing.

    With the same settings of reading and splitting, everything must be the same. Where only the training images may
    differ (``data.also_train``, ``split.train_regions``), that holds for test images. Otherwise the images that both
    have must have the same label and, under the same path, the same file.
    """
    scope = _scope(one.settings, other.settings)
    first, second = _rows(one, scope), _rows(other, scope)
    if one.settings.split.fold != other.settings.split.fold:
        first, second = (table.drop(columns="split", errors="ignore") for table in (first, second))
    both = first.index.intersection(second.index)
    found = []
    if one.catalogue.target != other.catalogue.target:
        found.append(f"label 1 means {other.catalogue.target!r}, not {one.catalogue.target!r}")
    if scope != "shared":
        found += _said(second.index.difference(first.index), "is new", "are new")
        found += _said(first.index.difference(second.index), "is gone", "are gone")
    first, second = first.loc[both], second.loc[both]
    for column in first.columns:
        found += _said(both[(first[column] != second[column]).to_numpy()], *_words(column))
    return found + _other_files(one, other, both)


def _refuse(one: DataRecord, other: DataRecord, hint: str) -> None:
    if found := differences(one, other):
        raise OtherDataError(f"not the data of {one.name}: {'; '.join(found)}", where=other.name, hint=hint)


def _scope(one: RunSettings, other: RunSettings) -> Scope:
    if _key(one) == _key(other):
        return "all"
    alike = _key(one, training=False) == _key(other, training=False)
    return "test" if alike and one.split.fold == other.split.fold else "shared"


def _key(settings: RunSettings, *, training: bool = True) -> str:
    """Return the settings that decide which images there are and how they are split, but for the number of the fold."""
    without = set() if training else JOINING
    data = settings.data.model_dump(mode="json", exclude={"damaged", *without})
    split = settings.split.model_dump(mode="json", exclude={"fold"} if training else {"fold", "train_regions"})
    return json.dumps([data, split])


def _rows(record: DataRecord, scope: Scope) -> pd.DataFrame:
    """Return what is compared of each image within a scope, as text by image."""
    images = record.catalogue.images
    table = images[[]].assign(label=images["label"].astype(str))
    if scope != "shared":
        table = table.join(images[list(TEXTS)]).assign(boxes=_boxes(record.catalogue))
        for name in ("region", "view"):  # earlier versions kept the spaces of a table's "hand | leg"
            table[name] = table[name].map(lambda names: SEPARATOR.join(split_names(names)))
    table = table.set_index(images["image_id"])
    return table[(images["split"] == "test").to_numpy()] if scope == "test" else table


def _boxes(catalogue: Catalogue) -> list[str]:
    """Return each image's boxes as one text, in any order of the boxes."""
    boxes = catalogue.boxes
    numbers = [pd.to_numeric(boxes[name]).astype(float) for name in ("x", "y", "width", "height")]
    texts: dict[str, list[str]] = {}
    for image_id, kind, *numbers_of in zip(boxes["image_id"], boxes["kind"], *numbers, strict=True):
        texts.setdefault(str(image_id), []).append(f"{numbers_of} {'' if pd.isna(kind) else kind}")
    return [" ".join(sorted(texts.get(name, []))) for name in catalogue.images["image_id"]]


def _other_files(one: DataRecord, other: DataRecord, images: pd.Index[str]) -> list[str]:
    """Say which files held something else; only those of one path where the settings differ."""
    if one.digests is None or other.digests is None:
        return []
    images = images[images.isin(one.digests.index) & images.isin(other.digests.index)]
    if _scope(one.settings, other.settings) != "all":
        first, second = (item.catalogue.images.set_index("image_id")["path"].loc[images] for item in (one, other))
        same = [a == b or Path(a).resolve() == Path(b).resolve() for a, b in zip(first, second, strict=True)]
        images = images[same]
    before, now = one.digests.loc[images], other.digests.loc[images]
    lost = (now == "") & (before != "")
    return [
        *_said(images[((before != now) & ~lost).to_numpy()], "has another content", "have other contents", "file"),
        *_said(images[lost.to_numpy()], "cannot be read any more", "cannot be read any more", "file"),
    ]


def _said(images: pd.Index[str], one: str, several: str, what: str = "image") -> list[str]:
    if images.empty:
        return []
    number = f"1 {what} {one}" if len(images) == 1 else f"{len(images)} {what}s {several}"
    return [f"{number} ({'' if len(images) == 1 else 'e.g. '}{min(images)})"]


def _words(column: str) -> tuple[str, str]:
    if column == "boxes":
        return "has other boxes", "have other boxes"
    name = column.removesuffix("_id")
    return f"has another {name}", f"have another {name}"


def _contents(store: ImageStore) -> pd.DataFrame:
    entries = open_stored(store.folder).entries
    rows = [(item.image_id, item.digest, *(item.signature or ("", "", ""))) for item in entries]
    return pd.DataFrame(rows, columns=["image_id", "sha256", *SIGNATURE]).set_index("image_id")


def _digests(catalogue: Catalogue, known: pd.DataFrame | None) -> pd.Series[str] | None:
    """Return the digests of the files as they are, of unchanged size and times as recorded; None if none was."""
    if known is None:
        return None
    recorded = {
        (str(name), *map(str, signature)): str(digest)
        for name, digest, *signature in zip(known.index, *(known[column] for column in known), strict=True)
    }
    images = catalogue.images
    values = [
        _digest(found(name, path), recorded) for name, path in zip(images["image_id"], images["path"], strict=True)
    ]
    return pd.Series(values, index=images["image_id"], dtype=object)


def _digest(file: SourceFile, recorded: dict[tuple[str, ...], str]) -> str:
    if file.signature is None or file.signature[0] > LIMITS.bytes:
        return ""
    known = recorded.get((file.image_id, *map(str, file.signature)))
    if known is not None:
        return known
    try:
        with Path(file.path).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
