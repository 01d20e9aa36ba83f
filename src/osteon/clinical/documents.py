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
    """Make the documents of one study.

    Args:
        study: The answer; views with a heat map get an overlay and an outline.
        sources: The images' data sets in the order of ``study.views``, with their pixels or read from a file that is
            still there; None for an image that is no DICOM file: the report mentions it in words.
        card: What the model says of itself.

    Returns:
        The structured report first, then overlays and outlines in the order of the views. All are in the sources'
        study, with their identity and character set, in three new series. The same answer to the same images by the
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
    report = structured_report(study, sources, card, new_uid(key, "SR"), new_uid(key, "SR", 1))
    documents = [report, *_overlays(study, sources, card, key)]
    for document in documents:
        _set_file_meta(document)
    return documents


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
    return save_documents(study_documents(study, sources, card), folder)


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
    for number, (view, source) in enumerate(zip(study.views, sources, strict=True), start=1):
        if source is None or view.heat_map is None or view.probability is None:
            continue
        series, instance = new_uid(key, "SC"), new_uid(key, "SC", number)
        try:
            yield secondary_capture(view, view.heat_map, source, maker, series, instance, number)
        except UnreadableImageError as error:
            log.warning("An image has no overlay: %s", error.what)
        series, instance = new_uid(key, "PR"), new_uid(key, "PR", number)
        state = presentation_state(view, view.heat_map, source, maker, series, instance, number)
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


def _set_file_meta(document: Dataset) -> None:
    syntax = document.file_meta.TransferSyntaxUID if hasattr(document, "file_meta") else ExplicitVRLittleEndian
    document.file_meta = FileMetaDataset()
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.file_meta.TransferSyntaxUID = syntax
    document.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS)
    document.file_meta.ImplementationVersionName = "OSTEON"
