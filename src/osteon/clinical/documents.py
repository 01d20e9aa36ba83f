"""The DICOM documents of a study's answer: a structured report, and per image a colour overlay and an outline.

    for document in study_documents(study, [dcmread(path) for path in paths], predictor.card):
        document.save_as(...)

Needs the extra ``dicom``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from osteon._version import __version__
from osteon.clinical.device import IMPLEMENTATION_CLASS, Maker
from osteon.clinical.identity import check_sources, new_uid
from osteon.clinical.place import Place
from osteon.data.images import UnreadableImageError
from osteon.errors import InputError, require
from osteon.export.model_card import ModelCard
from osteon.inference.prediction import Prediction, StudyPrediction
from osteon.run import atomic_path

log = logging.getLogger(__name__)
_NAMES = {
    "1.2.840.10008.5.1.4.1.1.88.33": "report",
    "1.2.840.10008.5.1.4.1.1.7": "overlay",
    "1.2.840.10008.5.1.4.1.1.11.1": "outline",
}


def study_documents(study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard) -> list[Dataset]:
    """Make the documents of one study, all of them at once; see :func:`each_document`."""
    return list(each_document(study, sources, card))


def each_document(study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard) -> Iterator[Dataset]:
    """Make the documents of one study, one after another: a picture takes tens of megabytes.

    Args:
        study: The answer; views with a heat map get an overlay and an outline.
        sources: The images' data sets in the order of ``study.views``, with their pixels or read from a file that is
            still there; None for an image that is no DICOM file: the report mentions it in words.
        card: What the model says of itself.

    Yields:
        The structured report first, then overlays and outlines in the order of the views. All are in the sources'
        study, with the identity and character set of the first of them, in new series: one for the report, and one for
        the pictures and one for the outlines of each side and body part. The same answer to the same images by the
        same model and version of the software gets the same identifiers.

    Raises:
        InputError: The sources cannot be referred to: an identifier is missing, they are of several studies or
            patients, or one is not the image that was answered for.
        MissingExtraError: The extra ``dicom`` is not installed.
        ValueError: There are not as many sources as views.
    """
    require("highdicom", extra="dicom", feature="Writing DICOM documents")
    from osteon.clinical.structured_report import structured_report

    if len(sources) != len(study.views):
        raise ValueError(f"{len(sources)} sources for {len(study.views)} views")
    check_sources(sources)
    for view, source in zip(study.views, sources, strict=True):
        _check_size(view, source)
    key = _key(study, sources, card)
    yield _complete(structured_report(study, sources, card, new_uid(key, "SR"), new_uid(key, "SR", 1)))
    for document in _overlays(study, sources, card, key):
        yield _complete(document)


def write_documents(
    study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard, folder: str | Path
) -> list[Path]:
    """Write a study's documents: ``folder/STUDY/report.dcm``, ``overlay-1.dcm``, ``outline-1.dcm`` and so on.

    Args:
        study: See :func:`study_documents`.
        sources: See :func:`study_documents`.
        card: See :func:`study_documents`.
        folder: Where to; the study's own folder in it bears its unique identifier. Documents of the same names are
            replaced.

    Returns:
        The files, in the order of the documents.

    Raises:
        SettingsError: There is no room or no right to write.
    """
    return save_documents(each_document(study, sources, card), folder)


def save_documents(documents: Iterable[Dataset], folder: str | Path) -> list[Path]:
    """Write documents as :func:`write_documents` does.

    Raises:
        SettingsError: There is no room or no right to write.
    """
    written = []
    for document in documents:
        name = _NAMES[str(document.SOPClassUID)]
        numbered = name if name == "report" else f"{name}-{document.InstanceNumber}"
        target = Path(folder) / str(document.StudyInstanceUID) / f"{numbered}.dcm"
        with atomic_path(target) as temporary:
            dcmwrite(temporary, document, enforce_file_format=True, overwrite=True)
        written.append(target)
    return written


def _overlays(
    study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard, key: str
) -> Iterator[Dataset]:
    from osteon.clinical.overlay import presentation_state, secondary_capture

    maker = Maker.of(card)
    first = check_sources(sources)
    for number, (view, source) in enumerate(zip(study.views, sources, strict=True), start=1):
        if source is None or view.heat_map is None or view.probability is None:
            continue
        try:
            yield secondary_capture(view, view.heat_map, maker, Place.of(key, "SC", number, source, first))
        except UnreadableImageError as error:
            log.warning("An image has no overlay: %s", error.what)
        state = presentation_state(view, view.heat_map, maker, Place.of(key, "PR", number, source, first))
        if state is None:
            log.info("A colour image has no outline: a grey-scale presentation state cannot refer to it")
        else:
            yield state


def _key(study: StudyPrediction, sources: Sequence[Dataset | None], card: ModelCard) -> str:
    """Return the hash of all that is written of an answer: documents of other content get other identifiers."""
    written = {
        "software": __version__,
        "model": [card.weights_sha256, card.name, card.target, *card.notes],
        "study": [study.verdict, study.probability, study.pooling],
        "images": ["" if source is None else str(source.SOPInstanceUID) for source in sources],
        "views": [_written(view) for view in study.views],
    }
    return hashlib.sha256(json.dumps(written, sort_keys=True, default=str).encode()).hexdigest()


def _written(view: Prediction) -> dict[str, Any]:
    """Return an image's answer as plain data, whatever its file is called."""
    values = {key: value for key, value in view.as_dict().items() if key not in ("name", "study", "logit", "refusal")}
    refusal, found = view.refusal, view.heat_map
    values["refusal"] = None if refusal is None else [refusal.reason, refusal.detail]
    values["heat_map"] = found and [found.kind, found.cells.shape, hashlib.sha256(found.cells.tobytes()).hexdigest()]
    return values


def _check_size(view: Prediction, source: Dataset | None) -> None:
    """Refuse a source that is not the image that was answered for."""
    if source is None or view.probability is None:
        return
    size = (source.get("Rows"), source.get("Columns"))
    if size != (view.height, view.width):
        raise InputError(
            f"the image has {size[0]} x {size[1]} pixels, its answer is about {view.height} x {view.width}",
            where=str(getattr(source, "filename", "") or "") or None,
            hint="Give the images in the order of the answers",
        )


def _complete(document: Dataset) -> Dataset:
    """Return a document with the file meta information that it is written with."""
    syntax = document.file_meta.TransferSyntaxUID if hasattr(document, "file_meta") else ExplicitVRLittleEndian
    document.file_meta = FileMetaDataset()
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.file_meta.TransferSyntaxUID = syntax
    document.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS)
    document.file_meta.ImplementationVersionName = "OSTEON"
    return document
