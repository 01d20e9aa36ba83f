"""Files, folders, ZIP archives and DICOMDIRs to studies: which instances there are, and how their bytes are had.

Nothing is extracted to disk, so no name inside an archive can lead anywhere; a DICOMDIR's references stay inside its
folder.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pydicom.uid import UID

from osteon.data.dicom import read_dicom, read_header
from osteon.data.dicom_dataset import items, parse, texts
from osteon.data.disc_names import DiscFolder, is_dicomdir
from osteon.data.files import LIMITS, Limits, Refused, is_dicom, load_bytes
from osteon.data.formats import OTHER_SUFFIXES
from osteon.data.images import UnreadableImageError
from osteon.data.listing import IGNORED, MAP_SUFFIX, is_image_name, list_folder
from osteon.data.zip_members import (
    ARCHIVE_LIMITS,
    ArchiveLimits,
    check_archive,
    check_entry,
    inflated,
    names_of,
    read_member,
)
from osteon.errors import InputError, Refusal

HEAD = 132
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_SUFFIXES = ("", ".zip")
"""Of archives met in folders: office documents are ZIP archives too, and their pictures are nobody's radiographs."""

_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Instance:
    """One image of a study.

    Attributes:
        name: The file as the user knows it; of an archive's member ``archive.zip/member``.
        path: The file; of an archive's member, the archive.
        study_uid: Its study; empty for a picture.
        sop_uid: Its own identifier; empty for a picture.
        order: Series and instance number.
        member: Number of the archive's entry; None for a plain file.
        patient: Tells patients apart, see :class:`osteon.data.dicom.DicomHeader`; empty for a picture.
    """

    name: str
    path: Path
    study_uid: str = ""
    sop_uid: str = ""
    order: tuple[int, int] = (0, 0)
    member: int | None = None
    patient: str = field(default="", repr=False)
    limits: Limits = field(default=LIMITS, repr=False)

    @property
    def source(self) -> Path | bytes:
        """What :func:`osteon.data.images.read_image` and :func:`osteon.data.dicom.read_dicom` take."""
        return self.path if self.member is None else self.read()

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            UnreadableImageError: They cannot be had (any more).
        """
        try:
            if self.member is None:
                return load_bytes(self.path, self.limits)
            return read_member(self.path, self.member, self.name, self.limits)
        except Refused as refused:
            raise UnreadableImageError(Refusal(self.name, refused.reason, refused.detail), refused.hint) from None


@dataclass(frozen=True)
class Study:
    """Images taken together.

    Attributes:
        uid: *Study Instance UID*; empty for a picture, which is a study of its own.
        instances: By series number, instance number, name.
    """

    uid: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class FoundStudies:
    """Studies in the order in which they were first met, and what could not be used."""

    studies: tuple[Study, ...]
    refusals: tuple[Refusal, ...] = ()


def find_studies(
    paths: Iterable[str | Path], *, limits: Limits = LIMITS, archive_limits: ArchiveLimits = ARCHIVE_LIMITS
) -> FoundStudies:
    """Gather the studies that files, folders (at any depth), ZIP archives and DICOMDIRs hold.

    Headers are read, pixels are not, but of files that have one SOP instance UID and not the same bytes. In folders and
    archives, files that are neither pictures nor DICOM are passed over, and so are DICOM files without a picture
    (reports, presentation states) and overlays that Osteon drew; named on their own they are kept, so that their
    reading says what is wrong. A file met twice is taken once, also in two transfer syntaxes; a folder or an archive in
    which nothing is found is refused.

    Args:
        paths: What to look at.
        limits: Bounds on each file.
        archive_limits: Bounds on each archive.
    """
    search = _Search(limits, archive_limits)
    for path in paths:
        search.look(Path(path))
    return search.found()


class _Search:
    def __init__(self, limits: Limits, archive_limits: ArchiveLimits) -> None:
        self.limits = limits
        self.archive_limits = archive_limits
        self.studies: dict[str, list[Instance]] = {}
        self.refusals: list[Refusal] = []
        self._met: dict[str, list[_Look]] = {}
        self._members: set[str] = set()
        self._seen = 0

    def look(self, path: Path) -> None:
        before = self._seen + len(self.refusals)
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be entered
            for file in _files(path, self._refuse):
                self._file(file, named=False)
        else:
            self._file(path, named=True)
        if self._seen + len(self.refusals) == before:
            self._refuse(str(path), "nothing_found", "holds no picture")

    def found(self) -> FoundStudies:
        studies = (
            Study(members[0].study_uid, tuple(sorted(members, key=lambda one: (one.order, one.name))))
            for members in self.studies.values()
        )
        return FoundStudies(tuple(studies), tuple(self.refusals))

    def _file(self, path: Path, *, named: bool) -> None:
        head = _head(path)
        if head.startswith(_ZIP):
            if named or path.suffix.lower() in _ZIP_SUFFIXES:
                self._archive(path)
        elif is_dicom(head):
            self._dicom(Instance(str(path), path, limits=self.limits), path, named=named)
        elif named or _is_picture(path.name) or path.suffix.lower() == ".zip":  # an archive cut short: reading says so
            self._add(Instance(str(path), path, limits=self.limits))

    def _dicom(self, instance: Instance, source: Path | bytes, *, named: bool) -> None:
        try:
            header = read_header(source, limits=self.limits)
        except UnreadableImageError as error:
            self._refuse(instance.name, error.refusal.reason, error.refusal.detail)
            return
        if header.sop_class_uid == _DIRECTORY or (is_dicomdir(instance.path.name) and not header.rows):
            if named and instance.member is None:
                self._directory(instance.path)
        elif named or (not header.own and (header.rows or not _is_without_picture(header.sop_class_uid))):
            known = replace(
                instance,
                study_uid=header.study_instance_uid,
                sop_uid=header.sop_instance_uid,
                order=(header.series_number, header.instance_number),
                patient=header.patient,
            )
            self._add(known)

    def _add(self, instance: Instance) -> None:
        self._seen += 1
        if self._is_first(instance):
            self.studies.setdefault(instance.study_uid or f"/{instance.name}", []).append(instance)

    def _is_first(self, instance: Instance) -> bool:
        """Whether an image was not met before; it is remembered by its identifier."""
        look = _Look(instance)
        alike = self._met.setdefault(instance.sop_uid or f"{instance.path}/{instance.member}", [])
        if any(_same(look, other) for other in alike):
            return False
        alike.append(look)
        return True

    def _refuse(self, name: str, reason: str, detail: str) -> None:
        self.refusals.append(Refusal(name, reason, detail))

    def _directory(self, path: Path) -> None:
        try:
            listed = list(_referenced(path, self.limits))
        except Refused as refused:
            self._refuse(str(path), refused.reason, refused.detail)
            return
        folder = DiscFolder(path.parent.resolve())
        for parts in listed:
            try:
                file = folder.find(parts)
                is_there = file is not None and file.is_file()
            except OSError as error:  # a path too long, or in a folder that may not be entered
                self._refuse(str(path), "no_access", f"names a file that cannot be reached: {error.strerror}")
                continue
            if file is None:
                self._refuse(str(path), "outside", "names a file outside of its own folder")
            elif not is_there:
                self._refuse(str(file), "missing", "listed in the DICOMDIR, but not on disk")
            else:
                self._file(file, named=False)

    def _archive(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                check_archive(entries, self.archive_limits)
                for number, entry in enumerate(entries):
                    self._entry(path, archive, number, entry)
        except Refused as refused:
            self._refuse(str(path), refused.reason, refused.detail)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
            self._refuse(str(path), "corrupt", "is a damaged ZIP archive")

    def _entry(self, path: Path, archive: zipfile.ZipFile, number: int, entry: zipfile.ZipInfo) -> None:
        *_, last = parts = entry.filename.split("/")
        if not last or any(part in IGNORED or _is_hidden(part) for part in parts):
            return
        name, another = names_of(path, number, entry)
        name = another if name in self._members else name
        self._members.add(name)
        instance = Instance(name, path, member=number, limits=self.limits)
        try:
            check_entry(entry, self.limits, self.archive_limits)
            head = inflated(archive, entry, self.limits, HEAD)
            if is_dicom(head):
                self._dicom(instance, inflated(archive, entry, self.limits), named=False)
            elif _is_picture(last):
                self._add(instance)
        except Refused as refused:
            self._refuse(instance.name, refused.reason, refused.detail)


def _is_without_picture(sop_class: str) -> bool:
    """Whether a file is no image by its class; one that is, but says no size, is damaged: its reading says so."""
    name = UID(sop_class).name
    is_of_the_standard = sop_class.startswith("1.2.840.10008.")
    return bool(sop_class) and "Image Storage" not in name and (name != sop_class or not is_of_the_standard)


def _is_picture(name: str) -> bool:
    """Whether a file is a picture by its name, one that is not read included: its reading says so."""
    return (is_image_name(name) and not name.endswith(MAP_SUFFIX)) or name.lower().endswith(OTHER_SUFFIXES)


class _Look:
    """What tells whether two instances show the very same image, worked out once and only where it is asked for.

    Files that were copied from one template all have one identifier: each is read once, not once for each other.
    """

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    @cached_property
    def content(self) -> bytes | None:
        """Of the file's bytes; None where they cannot be had."""
        try:
            return hashlib.sha256(self.instance.read()).digest()
        except UnreadableImageError:
            return None

    @cached_property
    def picture(self) -> tuple[tuple[int, ...], bytes] | None:
        """Shape and digest of the pixels, however they are packed; None where they cannot be had."""
        try:
            pixels = read_dicom(self.instance.source, limits=self.instance.limits).image.pixels
        except UnreadableImageError:
            return None
        return pixels.shape, hashlib.sha256(pixels.astype("<u2").tobytes()).digest()


def _same(one: _Look, other: _Look) -> bool:
    """Whether two of one identifier are the same file, or of the same bytes, or of the same pixels otherwise packed."""
    first, second = one.instance, other.instance
    if (first.path, first.member) == (second.path, second.member):
        return True
    if one.content is not None and one.content == other.content:
        return True
    if first.study_uid != second.study_uid:
        return False
    return one.picture is not None and one.picture == other.picture


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part not in (".", "..")


def _files(folder: Path, refuse: Callable[[str, str, str], None]) -> Iterator[Path]:
    """Walk a folder in order; symbolic links are followed, and a folder that is reached twice is listed once."""
    waiting, seen = [folder], set()
    while waiting:
        place = waiting.pop()
        identity = os.path.realpath(place)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            folders, files = list_folder(place, met=True)
        except InputError as error:
            refuse(str(place), "no_access", error.what)
            continue
        yield from (place / name for name in files)
        waiting.extend(place / name for name in reversed(folders))


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""


def _referenced(path: Path, limits: Limits) -> Iterator[Sequence[str]]:
    """Yield the files that a DICOMDIR names, each as its folders and its own name."""
    dataset, _ = parse(load_bytes(path, limits), limits, pixels=False)
    for record in items(dataset, "DirectoryRecordSequence"):
        if parts := texts(record, "ReferencedFileID"):
            yield parts
