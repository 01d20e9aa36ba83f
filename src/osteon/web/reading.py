"""From the bytes of one request to answers by study: each file decoded once, its header's flags heeded."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.data.files import is_dicom
from osteon.data.flags import Flag
from osteon.data.images import DecodedImage, Limits, UnreadableImageError, read_image
from osteon.errors import Refusal
from osteon.inference.case import Case, Decoded
from osteon.inference.prediction import Prediction, StudyPooling, StudyPrediction, pool_study, same_pictures
from osteon.inference.predictor import Predictor

Grouping = Literal["one", "each"]


@dataclass(frozen=True, eq=False)
class File:
    """A file of a request.

    Attributes:
        number: Its place in the request, from 1.
        data: Its bytes.
        dicom: Whether it is DICOM.
        image: Its pixels, until it is answered for; None where it cannot be read.
        flags: What its header says against an answer.
        refusal: Why it cannot be read.
        study: Its DICOM study; empty where there is none.
        region: Body region by its header; empty where unknown.
        patient: Tells patients apart; empty of a picture.
        instance: Of DICOM, its SOP instance UID.
        no_view: Whether it is no view of a study, but a report, a presentation state, an overlay that Osteon drew.
        copies: Places in the request of further files with the same picture, which are this view once more.
    """

    number: int
    data: bytes
    dicom: bool
    image: DecodedImage | None = None
    flags: tuple[Flag, ...] = ()
    refusal: Refusal | None = None
    study: str = ""
    region: str = ""
    patient: str = field(default="", repr=False)
    instance: str = ""
    no_view: bool = False
    copies: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What it is called: never by the name that the user's file has."""
        return f"view {self.number}"


@dataclass(frozen=True, eq=False)
class View:
    """A file and its answer.

    Attributes:
        file: Without its pixels: those of one file at a time are in memory.
        prediction: The answer.
        png: Grey values as they were decoded, on 0-255, if asked for; None where the file could not be read.
    """

    file: File
    prediction: Prediction
    png: bytes | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """The views of one study and their answers."""

    views: tuple[View, ...]
    prediction: StudyPrediction


@dataclass(frozen=True, eq=False)
class Reading:
    """What one request comes to.

    Attributes:
        studies: In the order of their first files.
        warnings: Sentences for the reader.
    """

    studies: tuple[Study, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """How a request wants its files read.

    Attributes:
        grouping: ``one``: all are views of one study, as far as their headers do not say otherwise; ``each``: every
            picture is a study of its own, DICOM files by their study.
        pooling: From views to a study.
        region: Body region of all; empty: as their headers say.
        heat_map: Whether maps are wanted.
        pictures: Whether decoded grey values are wanted.
    """

    grouping: Grouping = "one"
    pooling: StudyPooling = "mean"
    region: str = ""
    heat_map: bool = True
    pictures: bool = False


class AbandonedError(Exception):
    """Nobody waits for the answer any more."""


def read_request(
    predictor: Predictor,
    contents: Sequence[bytes],
    wish: Wish,
    limits: Limits,
    abandoned: Callable[[], bool] = lambda: False,
) -> Reading:
    """Answer for the files of a request; files of the same bytes, or of the same picture in one study, are one view.

    Args:
        predictor: Whom to ask.
        contents: The files' bytes.
        wish: How they are to be read.
        limits: Bounds on decoding.
        abandoned: Whether nobody waits any more; asked before each file.

    Raises:
        AbandonedError: Nobody does.
    """
    views: dict[int, View] = {}
    for first, *copies in same_files(contents):
        if abandoned():
            raise AbandonedError
        view = _answered(predictor, first, contents[first - 1], wish, limits)
        views[first] = replace(view, file=replace(view.file, copies=tuple(copies)))
    files, left_out = only_views([view.file for view in views.values()])
    groups, warnings = group(files, wish.grouping)
    studies = []
    for number, members in enumerate(groups, start=1):
        name = f"study {number}"
        its = join_copies([_of_study(name, views[file.number]) for file in members])
        studies.append(Study(its, pool_study(name, [view.prediction for view in its], wish.pooling)))
    twice = [view.file for study in studies for view in study.views if view.file.copies]
    told = [counted_once((file.number, *file.copies)) for file in twice]
    return Reading(tuple(studies), (*warnings, *left_out, *told))


def _answered(predictor: Predictor, number: int, data: bytes, wish: Wish, limits: Limits) -> View:
    """Decode and answer for a file, and let its pixels go."""
    file = decode(number, data, limits)
    try:
        png = as_png(file.image.eight_bit()) if wish.pictures and file.image is not None else None
        found = answer(predictor, file, file.name, wish)
    except MemoryError:
        file = replace(file, refusal=_does_not_fit(number))
        png, found = None, answer(predictor, file, file.name, wish)
    return View(replace(file, image=None), found, png)


def _does_not_fit(number: int) -> Refusal:
    return Refusal(f"view {number}", "too_large", "does not fit in memory")


def _of_study(name: str, view: View) -> View:
    return replace(view, prediction=replace(view.prediction, study=name))


def as_png(grey: NDArray[np.uint8]) -> bytes:
    """Return grey values as a PNG, quickly."""
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG", compress_level=1)
    return out.getvalue()


def same_files(contents: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Return the places, from 1, of files with the same bytes together, in the order of their first."""
    places: dict[bytes, list[int]] = {}
    for number, data in enumerate(contents, start=1):
        places.setdefault(data, []).append(number)
    return [tuple(numbers) for numbers in places.values()]


def join_copies(views: Sequence[View]) -> tuple[View, ...]:
    """Return the views of a study, those of the same picture as one: an instance in another syntax, say."""
    of = {view.prediction.name: view for view in views}
    found = []
    for alike in same_pictures([view.prediction for view in views]):
        first, *others = (of[prediction.name] for prediction in alike)
        copies = (place for other in others for place in (other.file.number, *other.file.copies))
        file = replace(first.file, copies=tuple(sorted((*first.file.copies, *copies))))
        found.append(replace(first, file=file))
    return tuple(found)


def counted_once(places: Sequence[int]) -> str:
    """Say that files with the same picture are one view; their places in the request, at least two."""
    times = "twice" if len(places) == 2 else f"{len(places)} times"
    *most, last = map(str, places)
    return f"The same picture {times} (files {', '.join(most)} and {last}): counted once."


def only_views(files: Sequence[File]) -> tuple[list[File], tuple[str, ...]]:
    """Leave out what is no view of a study; where there is nothing else it stays, to be refused with its reason.

    Returns:
        The views, and a sentence for the reader.
    """
    views = [file for file in files if not file.no_view]
    count = sum(1 + len(file.copies) for file in files if file.no_view)
    if not views or not count:
        return list(files), ()
    many = "One file that is no radiograph was" if count == 1 else f"{count} files that are no radiographs were"
    return views, (f"{many} left out (reports, presentation states, pictures that Osteon drew).",)


def decode(number: int, data: bytes, limits: Limits) -> File:
    """Decode one file; one that cannot be read becomes a refusal."""
    dicom = is_dicom(data)
    try:
        if not dicom:
            return File(number, data, dicom, read_image(data, limits=limits))
        return _decode_dicom(number, data, limits)
    except UnreadableImageError as error:
        return File(number, data, dicom, refusal=error.told(f"view {number}"))
    except MemoryError:
        return File(number, data, dicom, refusal=_does_not_fit(number))


def _decode_dicom(number: int, data: bytes, limits: Limits) -> File:
    """Decode a DICOM file; what its header says counts also where its pixels cannot be read.

    Raises:
        UnreadableImageError: Its header cannot be read either.
    """
    from osteon.data.dicom import read_dicom, read_header

    try:
        found = read_dicom(data, limits=limits)
    except UnreadableImageError as error:
        header = read_header(data, limits=limits)
        no_view = error.refusal.reason == "no_pixels" and not header.rows  # else its pixels are lost
        unread = File(number, data, dicom=True, refusal=error.told(f"view {number}"), no_view=no_view)
        return replace(unread, study=header.study_instance_uid, region=header.region, patient=header.patient)
    file = File(number, data, True, replace(found.image, notes=()), found.flags, no_view=found.own)
    known = replace(file, study=found.study_instance_uid, region=found.region, patient=found.patient)
    return replace(known, instance=found.sop_instance_uid)


def group(files: Sequence[File], grouping: Grouping) -> tuple[list[list[File]], tuple[str, ...]]:
    """Share files out over studies; files of different DICOM studies or patients are never joined.

    Nor are DICOM files that name no study.

    Returns:
        The studies' files, and sentences for the reader.
    """
    own = {file.number: _belongs_to(file) for file in files}
    known = {place for place in own.values() if place is not None}
    if grouping == "one" and len(known) <= 1:
        return [list(files)], ()
    groups: dict[tuple[str, str], list[File]] = {}
    for file in files:
        rest = ("pictures" if grouping == "one" else file.name, "")
        groups.setdefault(own[file.number] or rest, []).append(file)
    if grouping == "each":
        return list(groups.values()), ()
    studies, warnings = {study for study, _ in known}, []
    if len(studies) > 1:
        warnings.append(f"The files come from {len(studies)} DICOM studies; each study is answered for on its own.")
    if len(known) > len(studies):
        warnings.append("A DICOM study has images of several patients; each patient's are answered for on their own.")
    return list(groups.values()), tuple(warnings)


def _belongs_to(file: File) -> tuple[str, str] | None:
    """Return a DICOM file's study and patient; None of a picture, and of what says neither and cannot be read."""
    if file.study:
        return file.study, file.patient
    return (file.name, "") if file.dicom and file.refusal is None else None


def answer(predictor: Predictor, file: File, study: str, wish: Wish) -> Prediction:
    """Answer for one file, as far as its header allows an answer."""
    region = wish.region or file.region
    rejected = [flag for flag in file.flags if flag.severity == "reject"]
    refusal = file.refusal or next((Refusal(file.name, flag.code, flag.detail) for flag in rejected), None)
    if file.image is None or refusal is not None:
        height, width = (0, 0) if file.image is None else file.image.pixels.shape
        threshold = predictor.operating_point.threshold
        return Prediction(
            file.name, study, region, height, width, threshold=threshold, flags=file.flags, refusal=refusal
        )
    held = Decoded(file.image, polarity_declared=file.dicom, patient=file.patient, instance=file.instance)
    found = predictor.predict(Case(held, file.name, study, region), heat_map=wish.heat_map)
    codes = {flag.code for flag in found.flags}
    found = replace(found, flags=(*(flag for flag in file.flags if flag.code not in codes), *found.flags))
    held_back = found.probability is not None and any(flag.severity == "abstain" for flag in file.flags)
    return replace(found, verdict="uncertain") if held_back else found
