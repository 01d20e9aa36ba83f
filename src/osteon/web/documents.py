"""Answers as files to take away: a PDF, and DICOM documents in a ZIP archive; made in memory."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from starlette.responses import Response

from osteon.errors import InputError, MissingExtraError
from osteon.export.model_card import ModelCard
from osteon.inference.predictor import Predictor
from osteon.web.problems import Problem
from osteon.web.reading import Reading, Study, View

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PDF = "application/pdf"
ZIP = "application/zip"
_NAMES = {"SR": "report", "OT": "overlay", "PR": "outline"}


def pdf_response(reading: Reading, predictor: Predictor, request_id: str) -> Response:
    """Return a reading as a PDF to save."""
    from osteon.web.pdf import write_pdf  # matplotlib takes seconds to import, and few ask for a report

    content = write_pdf(reading, predictor, request_id)
    return _attachment(content, PDF, "osteon-report.pdf")


def documents_response(reading: Reading, card: ModelCard) -> Response:
    """Return the DICOM documents of a reading's studies in a ZIP archive to save.

    Raises:
        Problem: There is no DICOM image among its files, they lack what a document must refer to, or the extra
            ``dicom`` is not installed (422).
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        written = [_add_study(archive, number, study, card) for number, study in enumerate(reading.studies, start=1)]
    if not any(written):
        raise Problem(422, "no_dicom", "none of the files is a DICOM image, which a DICOM report needs to refer to")
    return _attachment(out.getvalue(), ZIP, "osteon-dicom.zip")


def _add_study(archive: zipfile.ZipFile, number: int, study: Study, card: ModelCard) -> int:
    """Write a study's documents; return how many."""
    sources = [_source(view) for view in study.views]
    if not any(source is not None for source in sources):
        return 0
    try:
        from osteon.clinical.documents import study_documents

        documents = study_documents(study.prediction, sources, card)
    except MissingExtraError as error:
        raise Problem(422, "no_dicom_extra", error.what, error.hint) from None
    except InputError as error:
        raise Problem(422, "no_document", f"study {number}: {error.what}", error.hint) from None
    for index, document in enumerate(documents, start=1):
        name = _NAMES.get(str(document.get("Modality", "")), "document")
        archive.writestr(f"study-{number}/{index:02d}-{name}.dcm", _bytes(document))
    return len(documents)


def _source(view: View) -> Dataset | None:
    """Return the data set of a DICOM file that could be decoded."""
    if not view.file.dicom or view.file.refusal is not None:
        return None
    from osteon.clinical.sources import dataset_of

    return dataset_of(view.file.data)


def _bytes(document: Dataset) -> bytes:
    from pydicom.filewriter import dcmwrite

    out = io.BytesIO()
    dcmwrite(out, document, enforce_file_format=True)
    return out.getvalue()


def _attachment(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
