"""From a study's files to its documents, by a predictor."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset

from osteon.clinical.documents import each_document
from osteon.clinical.identity import drop_unreadable, missing_identifiers
from osteon.errors import OsteonError
from osteon.inference.case import Case
from osteon.inference.prediction import StudyPooling, pool_study

if TYPE_CHECKING:
    from osteon.inference.predictor import Predictor

log = logging.getLogger(__name__)
T = TypeVar("T")


class InterruptedAnswerError(OsteonError):
    """An answer was given up because the program ends."""


class StudyAnswerer:
    """Answers for the images of a study and makes its documents.

    Args:
        predictor: What answers.
        pooling: How the views' probabilities become one.
        workers: Images at a time; None: one a core.
    """

    def __init__(self, predictor: Predictor, pooling: StudyPooling = "mean", workers: int | None = None) -> None:
        self._predictor, self._pooling, self._workers = predictor, pooling, workers
        self._ended = threading.Event()

    def interrupt(self) -> None:
        """Give up, from another thread, what is being answered, after the image at hand; for good."""
        self._ended.set()

    def __call__(self, files: Sequence[Path]) -> Iterator[Dataset]:
        """Give the documents of a study, one after another, so that none but the one at hand is in memory.

        Args:
            files: Its images, all of them DICOM files of one study.

        Raises:
            InputError: No document can refer to the images.
            InterruptedAnswerError: It was interrupted.
        """
        found = sorted(((path, _header(path)) for path in files), key=lambda item: _order(item[1]))
        cases = [Case(path, name=f"image {number}", study="study") for number, (path, _) in enumerate(found, start=1)]
        views = list(self._unless_ended(self._predictor.predict_each(cases, heat_map=True, workers=self._workers)))
        study = pool_study("study", views, self._pooling)
        sources = [found[views.index(view)][1] for view in study.views]
        yield from self._unless_ended(each_document(study, sources, self._predictor.card))

    def _unless_ended(self, steps: Iterable[T]) -> Iterator[T]:
        for step in steps:
            yield step
            if self._ended.is_set():
                raise InterruptedAnswerError("the answer was given up: the program ends")


def _header(path: Path) -> Dataset | None:
    """Read a file without its pixels; None where it is damaged or nothing can refer to it: the report mentions it."""
    try:
        header = drop_unreadable(dcmread(path, stop_before_pixels=True))
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
