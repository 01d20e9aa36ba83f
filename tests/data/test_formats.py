from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from osteon.data.files import Refused
from osteon.data.formats import picture_format


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF"])
def test_pictures_are_told_by_their_first_bytes(name: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, name)
    assert picture_format(buffer.getvalue()) == name


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"GIF89a", "unsupported_format", "is a GIF"),
        (b"\0\0\0\x1cftypheic", "unsupported_format", "HEIC"),
        (b"\x08\x00\x05\x00CS\n\x00ISO_IR 100", "unsupported_format", "DICOM without"),
        (b"%PDF-1.7", "unsupported_format", "is a PDF"),
        (b"hello", "not_an_image", "no known format"),
        (b"", "not_an_image", "no known format"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        picture_format(data)
    assert caught.value.reason == reason
