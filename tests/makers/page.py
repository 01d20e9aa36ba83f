"""What tests of the page share: files to choose, a wait for the answer, and what the screen shows."""

from __future__ import annotations

import io
import re
import shutil
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WAIT = 30_000
"""Milliseconds that anything may take."""


def file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def send(page: Any, *files: dict[str, Any]) -> None:
    page.set_input_files("#files", list(files))
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text(re.compile("^Done"), timeout=WAIT)


def shot(locator: Any) -> np.ndarray:
    """Return what the screen shows of a canvas, as grey values."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L")).astype(float)
