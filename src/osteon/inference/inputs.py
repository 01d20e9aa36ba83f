"""What a user names on the command line, as cases: files, folders, archives, tables; and which are one study."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osteon.errors import InputError, Refusal, SettingsError
from osteon.inference.case import Case

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
COLUMN = "column:"
_LAST_PART = re.compile(r"[ _\-][^ _\-]*$")


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Attributes:
        cases: In the order in which they were named, folders and archives study by study.
        refusals: What could not be used.
    """

    cases: tuple[Case, ...]
    refusals: tuple[Refusal, ...] = ()


def gather(inputs: Sequence[str | Path], *, study_by: str = "none", region: str = "") -> Gathered:
    """Find the images that files, folders, ZIP archives, DICOMDIRs and tables name.

    Args:
        inputs: Paths; of a CSV table, the images in its column ``path``, beside the table unless absolute.
        study_by: ``none``: each picture is a study; ``folder``: those of one folder are; ``name``: those whose names
            are alike up to the last space, underscore or hyphen; ``column:NAME``: by a column of the table. DICOM files
            belong to the study that they name, whatever this says.
        region: Body region of all of them, where known.

    Raises:
        InputError: There is nothing to be read at all.
        SettingsError: ``study_by`` is none of these, or the tables lack its column.
    """
    column = study_by.removeprefix(COLUMN) if study_by.startswith(COLUMN) else ""
    if study_by not in ("none", "folder", "name") and not column:
        hint = "none, folder, name or column:NAME"
        raise SettingsError(f"there is no way {study_by!r} to make studies", where="--study-by", hint=hint)
    cases: list[Case] = []
    refusals: list[Refusal] = []
    for path in map(Path, inputs):
        if path.suffix.lower() == ".csv" and path.is_file():
            cases += _of_table(path, column)
        elif path.suffix.lower() in PICTURES and not path.is_dir():
            cases.append(Case(path, str(path)))
        else:
            found = _of_folder(path)
            cases += found.cases
            refusals += found.refusals
    if not cases and not refusals:
        raise InputError("there is no image in it", where=", ".join(map(str, inputs)), hint="PNG, JPEG, TIFF or DICOM")
    return Gathered(
        tuple(replace(_placed(case, study_by), region=case.region or region) for case in cases), tuple(refusals)
    )


def _placed(case: Case, study_by: str) -> Case:
    """Name the study of a case that has none."""
    if case.study or study_by == "none" or study_by.startswith(COLUMN):
        return case
    path = Path(case.name)
    study = str(path.parent) if study_by == "folder" else str(path.parent / _LAST_PART.sub("", path.stem))
    return replace(case, study=study)


def _of_folder(path: Path) -> Gathered:
    """Look into a folder, an archive, a DICOMDIR or a file of unknown kind."""
    from osteon.data.dicom_archive import find_studies

    found = find_studies([path])
    cases = [
        Case(item.path if item.member is None else item.read, item.name, study.uid)
        for study in found.studies
        for item in study.instances
    ]
    return Gathered(tuple(cases), found.refusals)


def _of_table(path: Path, column: str) -> list[Case]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read as a table: {error}", where=path) from None
    names = set(rows[0]) if rows else set()
    wanted = ["path", *([column] if column else [])]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise SettingsError(f"the table lacks the column {', '.join(missing)}", where=path)
    return [_of_row(path.parent, row, column) for row in rows]


def _of_row(folder: Path, row: dict[str, str], column: str) -> Case:
    path = folder / row["path"]
    return Case(path, str(path), row[column] if column else "", row.get("region") or "")
