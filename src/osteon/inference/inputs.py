"""What a user names on the command line, as cases: files, folders, archives, tables; and which are one study."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from osteon.data.class_names import UNKNOWN
from osteon.data.delimited import SAVE_AS, read_delimited
from osteon.data.file_lookup import FileLookup
from osteon.errors import InputError, Refusal, SettingsError
from osteon.inference.case import Case, Unreadable, in_home

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
TABLES = (".csv", ".tsv")
COLUMN = "column:"
NOTHING, MISSING = "nothing_found", "missing"
_LAST_PART = re.compile(r"[ _\-][^ _\-]*$")


def gather(inputs: Sequence[str | Path], *, study_by: str = "none", region: str = "") -> tuple[Case, ...]:
    """Find the images that files, folders, ZIP archives, DICOMDIRs and tables name.

    Args:
        inputs: Paths; of a CSV or TSV table, the images in its column ``path``, beside the table unless absolute.
        study_by: ``none``: each picture is a study; ``folder``: those of one folder are; ``name``: those whose names
            are alike up to the last space, underscore or hyphen; ``column:NAME``: by a column of the table. DICOM files
            belong to the study that they name, whatever this says.
        region: Body region of all of them, where known.

    Returns:
        Cases in the order in which they were named, folders and archives study by study. What cannot be used is among
        them, with a source that says why: a study is not whole without it.

    Raises:
        InputError: There is nothing to be read at all.
        SettingsError: ``study_by`` is none of these, or the tables lack its column.
    """
    column = study_by.removeprefix(COLUMN) if study_by.startswith(COLUMN) else ""
    if study_by not in ("none", "folder", "name") and not column:
        hint = "none, folder, name or column:NAME"
        raise SettingsError(f"there is no way {study_by!r} to make studies", where="--study-by", hint=hint)
    cases: list[Case] = []
    tables = 0
    for given in inputs:
        path = in_home(given)
        if given == "":  # of a variable of the shell that is not set; as a path it would be this folder
            cases.append(Case(Unreadable(Refusal("''", "no_path", "names no file")), "''"))
        elif path.suffix.lower() in TABLES and os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on some
            cases += _of_table(path, column)
            tables += 1
        elif path.suffix.lower() in PICTURES and not os.path.isdir(path):  # noqa: PTH112 - as above
            cases.append(Case(path, str(path)))
        elif not os.path.lexists(path):
            cases.append(Case(Unreadable(Refusal(str(given), MISSING, "file not found")), str(given)))
        else:
            cases += _of_folder(path)
    if column and not tables:
        raise SettingsError("no table is among the images", where="--study-by", hint=f"path,{column} as a CSV file")
    _check_any(cases, inputs)
    known: dict[str, str] = {}
    return tuple(
        replace(_placed(case, study_by, known), name=_printable(case.name), region=case.region or region)
        for case in cases
    )


def _check_any(cases: Sequence[Case], inputs: Sequence[str | Path]) -> None:
    """Refuse inputs of which none is there or holds anything.

    Raises:
        InputError: None does.
    """
    reasons = {case.source.refusal.reason if isinstance(case.source, Unreadable) else "" for case in cases}
    if reasons <= {NOTHING, MISSING}:
        what = "file or folder not found" if reasons == {MISSING} else "there is no image in it"
        hint = "Check the name" if reasons == {MISSING} else "PNG, JPEG, TIFF or DICOM"
        raise InputError(what, where=", ".join(map(str, inputs)), hint=hint)


def _printable(name: str) -> str:
    """Return a name without the stand-ins for bytes that are no UTF-8, which cannot be written anywhere."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _placed(case: Case, study_by: str, known: dict[str, str]) -> Case:
    """Name the study of a case that has none.

    Args:
        case: The case.
        study_by: See :func:`gather`.
        known: Studies named so far, by where they are: by another path, a file or folder is the same study.
    """
    if case.study or study_by.startswith(COLUMN):
        return case
    path = Path(case.name)
    named = {"none": path, "folder": path.parent, "name": path.parent / _LAST_PART.sub("", path.stem)}[study_by]
    study = known.setdefault(_place(named), _printable(case.name if study_by == "none" else str(named)))
    return replace(case, study=study)


def _place(path: Path) -> str:
    """Return the path by which a file or folder is one, whatever links or dots it was named by."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a NUL in its name
        return str(path)


def _of_folder(path: Path) -> list[Case]:
    """Look into a folder, an archive, a DICOMDIR or a file of unknown kind."""
    from osteon.data.dicom_archive import find_studies

    found = find_studies([path])
    cases = [
        Case(
            item.path if item.member is None else item.read,
            item.name,
            study.uid,
            patient=item.patient,
        )
        for study in found.studies
        for item in study.instances
    ]
    return cases + [Case(Unreadable(refusal), refusal.path) for refusal in found.refusals]


def _of_table(path: Path, column: str) -> list[Case]:
    try:
        header, *rows = [(line, row) for line, row in read_delimited(path).rows() if any(map(_known, row))] or [(0, [])]
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot be read as a table: {error}", where=path, hint=SAVE_AS) from None
    names = [name.strip() for name in header[1]]
    wanted = ["path", *([column] if column else [])]
    missing = [name for name in wanted if name not in names]
    if missing:
        hint = f"It has {', '.join(names) or 'none'}"
        raise SettingsError(f"the table lacks the column {', '.join(missing)}", where=path, hint=hint)
    _check_widths(rows, len(names), path)
    lookup = FileLookup(path.parent.absolute())
    return [_of_row(path, line, dict(zip(names, row, strict=False)), column, lookup) for line, row in rows]


def _check_widths(rows: Sequence[tuple[int, list[str]]], width: int, table: Path) -> None:
    """Refuse a table with a row of more fields than the header: its images would be put into studies of others.

    Raises:
        InputError: One has.
    """
    for line, row in rows:
        if any(field.strip() for field in row[width:]):
            what = f"line {line} has {len(row)} fields, but the header {width}"
            raise InputError(what, where=table, hint="A value that holds the separator belongs in quotes")


def _known(value: str) -> str:
    """Return a value of a table; nothing where it says that nothing is known, as ``NA`` does."""
    value = value.strip()
    return "" if value.lower() in UNKNOWN else value


def _of_row(table: Path, line: int, row: dict[str, str], column: str, lookup: FileLookup) -> Case:
    study, region = (_known(row.get(column, "")) if column else ""), _known(row.get("region", ""))
    study = "" if study.lower() == "none" else study  # as Python writes what is not known
    if not _known(row.get("path", "")):
        name = f"{table}, line {line}"
        return Case(Unreadable(Refusal(name, "no_path", "names no file")), name, study, region)
    path = _file(table.parent, row["path"], lookup)
    return Case(path, str(path), study, region)


def _file(folder: Path, written: str, lookup: FileLookup) -> Path:
    """Return the file that a table names; as a table of Windows or macOS writes it, where there is none exactly so."""
    name = written.strip()
    for exact in dict.fromkeys((written, name, name.replace("\\", "/"))):
        path = folder / in_home(exact)
        if os.path.lexists(path):
            return path
    path = folder / in_home(name)
    try:
        return Path(lookup.find(name) or path)
    except InputError:  # its folder may not be looked into
        return path
