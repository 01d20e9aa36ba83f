"""The data sets that a study's documents refer to."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from osteon.clinical.identity import drop_unreadable
from osteon.data.files import is_dicom


def dataset_of(source: Any | Callable[[], bytes]) -> Dataset | None:
    """Return the DICOM data set of a case's source; None for a picture, or what cannot be read.

    Args:
        source: A file's path, its bytes, what returns its bytes, or pixels.
    """
    try:
        content = source() if callable(source) else source
        if isinstance(content, str | Path):
            content = Path(content).read_bytes()
        if not isinstance(content, bytes) or not is_dicom(content):
            return None
        return drop_unreadable(dcmread(io.BytesIO(content)))
    except Exception:  # pydicom raises almost anything on broken bytes
        return None
