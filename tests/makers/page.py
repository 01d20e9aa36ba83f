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
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    # For each window Chromium would draw its address bar's suggestions, for longer than most tests take.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
]
WAIT = 30_000
"""Milliseconds that anything may take."""


HOLD = """() => {
    const decode = HTMLImageElement.prototype.decode;
    globalThis.held = [];
    HTMLImageElement.prototype.decode = async function () {
        if (globalThis.held) await new Promise((go) => globalThis.held.push(go));
        return decode.call(this);
    };
    globalThis.letGo = () => {
        const waiting = globalThis.held;
        globalThis.held = null;
        for (const go of waiting) go();
    };
}"""
"""Has the pictures of an answer wait to be drawn until ``letGo()``; ``held`` are those that wait."""


def wait_until_held(page: Any) -> None:
    while not page.evaluate("held.length"):  # the page allows no condition to be evaluated in it
        page.wait_for_timeout(20)


def file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def send(page: Any, *files: dict[str, Any]) -> None:
    page.set_input_files("#files", list(files))
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text(re.compile("^Done"), timeout=WAIT)


def shot(locator: Any) -> np.ndarray:
    """Return what the screen shows of a canvas, as grey values."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L")).astype(float)
