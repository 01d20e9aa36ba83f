"""The members of an ensemble: predictions of the same images by several models, checked before they are joined."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import ancestors
from osteon.evaluation.predictions import COLUMNS, check_predictions
from osteon.evaluation.sources import Source, read_models
from osteon.inference.aggregation import Vector
from osteon.run import RunFolder

ROWS = (*(name for name in COLUMNS if name != "probability"), "view")
HELD_OUT = ("valid", "test")


@dataclass(frozen=True)
class Member:
    """One model's predictions.

    Attributes:
        name: Tells it apart from the other members.
        table: Its predictions, checked.
        path: The file they were read from; None if made in memory.
        sha256: Of that file.
        run: The run folder they belong to, if any.
    """

    name: str
    table: pd.DataFrame
    path: Path | None = None
    sha256: str | None = None
    run: RunFolder | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return where the member comes from, as plain data."""
        return {
            "name": self.name,
            "model": str(self.table["model"].iloc[0]),
            "predictions": None if self.path is None else str(self.path),
            "predictions_sha256": self.sha256,
            "run": None if self.run is None else str(self.run.path),
        }


@dataclass(frozen=True)
class Panel:
    """The members' probabilities of the images they share, sorted by image.

    Attributes:
        names: Of the members, shape ``(m,)``.
        rows: Validation and test images: the columns of the predictions contract but for probability and model.
        probabilities: Shape ``(n, m)``.
        warnings: Sentences for the user.
    """

    names: tuple[str, ...]
    rows: pd.DataFrame
    probabilities: Vector
    warnings: tuple[str, ...] = ()

    def marked(self, split: str) -> NDArray[np.bool_]:
        """Return which rows are of a split, shape ``(n,)``."""
        return np.asarray(self.rows["split"] == split, dtype=np.bool_)

    def column(self, name: str) -> pd.DataFrame:
        """Return one member's predictions of these images, in the predictions contract."""
        return self.predictions(self.probabilities[:, self.names.index(name)], name)

    def predictions(self, probabilities: Vector, model: str) -> pd.DataFrame:
        """Return predictions of these images, in the predictions contract."""
        return self.rows.assign(probability=probabilities, model=model)


def read_members(paths: Sequence[str | Path]) -> tuple[Member, ...]:
    """Read the predictions of every model in several run folders and CSVs.

    Raises:
        InputError: A source cannot be read or breaks the contract.
    """
    named = iter(read_models(paths).items())
    members: list[Member] = []
    for path in paths:
        source = Source.open(path)
        digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
        for _ in range(source.read()["model"].nunique()):
            name, table = next(named)
            members.append(Member(name, table, source.path, digest, source.run))
    return tuple(members)


def make_panel(members: Sequence[Member]) -> Panel:
    """Put the members' probabilities side by side, after checking that they may be joined.

    Test images must be the same for all; of validation images, those that all share are kept.

    Raises:
        SettingsError: There are fewer than two members.
        InputError: Images, labels or splits differ, there is no test image, or a member has learnt from images that the
            ensemble is to be tested on or fitted on.
    """
    if len(members) < 2:
        raise SettingsError(
            "an ensemble needs two members or more", hint="osteon ensemble RUN RUN --how mean -o FOLDER"
        )
    tables = [_held_out(member) for member in members]
    warnings = _check_images(members, tables)
    shared = sorted(set.intersection(*(set(table.index) for table in tables)))
    placed = [table.loc[shared] for table in tables]
    _check_agreement(members, placed)
    rows = placed[0][list(ROWS)].reset_index(drop=True)
    for member, table in zip(members, placed, strict=True):
        _refuse_leaks(member, table.assign(patient_id=_patients([table, *placed])))
    return Panel(
        names=tuple(member.name for member in members),
        rows=rows,
        probabilities=np.column_stack([table["probability"].to_numpy(dtype=float) for table in placed]),
        warnings=(*warnings, *_repeated(members), *_other_groups(members, placed)),
    )


def _held_out(member: Member) -> pd.DataFrame:
    table = check_predictions(member.table, member.path or member.name)
    return table[table["split"].isin(HELD_OUT)].set_index("image_id", drop=False)


def _check_images(members: Sequence[Member], tables: Sequence[pd.DataFrame]) -> list[str]:
    """Refuse members of other test images; warn of validation images that not all have."""
    sets = {split: [set(table.index[table["split"] == split]) for table in tables] for split in HELD_OUT}
    first, *others = sets["test"]
    if not any(sets["test"]):
        raise InputError("no member has test images", where=", ".join(member.name for member in members))
    for member, images in zip(members[1:], others, strict=True):
        if images != first:
            differing = sorted(images ^ first)
            raise InputError(
                f"{len(differing)} test images are not the same as in {members[0].name}, e.g. {differing[0]!r}",
                where=member.name,
                hint="Members must be tested on the same images: train them on the same data with the same split.seed",
            )
    common, every = set.intersection(*sets["valid"]), set.union(*sets["valid"])
    if len(common) == len(every):
        return []
    return [f"{len(every) - len(common)} of {len(every)} validation images are not in all members: left out"]


def _check_agreement(members: Sequence[Member], placed: Sequence[pd.DataFrame]) -> None:
    for member, table in zip(members[1:], placed[1:], strict=True):
        for column in ("split", "label"):
            differing = table.index[table[column] != placed[0][column]]
            if len(differing):
                raise InputError(
                    f"{len(differing)} of {len(table)} images have another {column} than in {members[0].name}, "
                    f"e.g. {differing[0]!r}",
                    where=member.name,
                    hint="Members must share the target, its labels and the split",
                )


def _patients(placed: Sequence[pd.DataFrame]) -> pd.Series[str]:
    """Return the images' patients, of each image by the first of the tables that knows its patient."""
    found, *others = (table["patient_id"] for table in placed)
    for other in others:
        found = found.mask(found == "", other)
    return found


def _refuse_leaks(member: Member, rows: pd.DataFrame) -> None:
    """Refuse a member that has learnt from images (or patients) that the ensemble is fitted or tested on.

    Args:
        member: The member.
        rows: These images, their patients as its own predictions name them where they do.

    Raises:
        InputError: It has, as far as run folders show.
    """
    for run in ancestors(member.run):
        learnt = _training_images(run)
        if learnt is None:
            continue
        for column, what in (("image_id", "images"), ("patient_id", "patients")):
            seen = set(learnt[column]) - {""}
            for split in reversed(HELD_OUT):
                leaking = rows.loc[(rows["split"] == split) & rows[column].isin(seen), column].unique()
                if len(leaking):
                    own = "" if member.run is not None and run.path == member.run.path else f", from {run.path},"
                    raise InputError(
                        f"has learnt{own} from {len(leaking)} {what} of the ensemble's {split} set, "
                        f"e.g. {leaking[0]!r}: its figures would be of memory",
                        where=member.name,
                        hint="Train the members with the same split (split.method, split.seed, data.neighbours)",
                    )


def _training_images(run: RunFolder) -> pd.DataFrame | None:
    try:
        return Catalogue.read(run.split).in_split("train")
    except InputError:
        return None


def _repeated(members: Sequence[Member]) -> list[str]:
    columns = [tuple(member.table.sort_values("image_id")["probability"]) for member in members]
    return [
        f"{member.name} predicts just what {members[columns.index(column)].name} does: it counts twice"
        for number, (member, column) in enumerate(zip(members, columns, strict=True))
        if column in columns[:number]
    ]


def _other_groups(members: Sequence[Member], placed: Sequence[pd.DataFrame]) -> list[str]:
    columns = ["study_id", "patient_id", "group_id"]
    return [
        f"{member.name}: studies or groups differ from those in {members[0].name}, which are used"
        for member, table in zip(members[1:], placed[1:], strict=True)
        if not table[columns].equals(placed[0][columns])
    ]
