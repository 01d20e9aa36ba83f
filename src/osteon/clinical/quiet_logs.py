"""Keeps patients out of logs: libraries that quote a header's values are silenced, faults told without their words."""

from __future__ import annotations

import logging
import traceback
import warnings
from pathlib import Path


def silence_quotations() -> None:
    """Silence the warnings of pydicom and of what is built on it, which quote values of headers, for this process."""
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=name)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def described(error: BaseException) -> str:
    """Return a fault's kind and place, e.g. ``KeyError in overlay.py, line 120``; its words may name a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}, line {frame.lineno}" for frame in frames[-3:]]
    return f"{type(error).__name__} in {' < '.join(reversed(places))}" if places else type(error).__name__
