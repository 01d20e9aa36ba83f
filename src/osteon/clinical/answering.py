"""From a study's files to its documents, by a predictor."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.dataset import Dataset

from osteon.clinical.documents import study_documents
from osteon.clinical.identity import missing_identifiers
from osteon.inference.case import Case
from osteon.inference.prediction import StudyPooling, pool_study

if TYPE_CHECKING:
    from osteon.inference.predictor import Predictor

log = logging.getLogger(__name__)


class StudyAnswerer:
    """Answers for the images of a study and makes its documents.

    Args:
        predictor: What answers.
        pooling: How the views' probabilities become one.
        workers: Images at a time; None: one a core.
    """

    def __init__(self, predictor: Predictor, pooling: StudyPooling = "mean", workers: int | None = None) -> None:
        self._predictor, self._pooling, self._workers = predictor, pooling, workers

    def __call__(self, files: Sequence[Path]) -> list[Dataset]:
        """Return the documents of a study.

        Args:
            files: Its images, all of them DICOM files of one study.

        Raises:
            InputError: No document can refer to the images.
        """
        found = sorted(((path, _header(path)) for path in files), key=lambda item: _order(item[1]))
        cases = [Case(path, name=f"image {number}", study="study") for number, (path, _) in enumerate(found, start=1)]
        views = list(self._predictor.predict_each(cases, heat_map=True, workers=self._workers))
        sources = [header for _, header in found]
        return study_documents(pool_study("study", views, self._pooling), sources, self._predictor.card)


def _header(path: Path) -> Dataset | None:
    """Read a file without its pixels; None where it is damaged or nothing can refer to it: the report mentions it."""
    try:
        header = dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
        log.warning("An image's header is damaged (%s)", type(error).__name__)
        return None
    if missing := missing_identifiers(header):
        log.warning("An image cannot be referred to: %s is missing or malformed", ", ".join(missing))
        return None
    return header


def _order(source: Dataset | None) -> tuple[int, int, str]:
    """Order images as their series and numbers do, whichever came first."""
    if source is None:
        return sys.maxsize, 0, ""
    return _int(source, "SeriesNumber"), _int(source, "InstanceNumber"), str(source.get("SOPInstanceUID", ""))


def _int(source: Dataset, keyword: str) -> int:
    try:
        return int(source.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0
