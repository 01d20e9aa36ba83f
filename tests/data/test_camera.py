import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from osteon.data.images import read_image, read_image_uint8

IFD = 0x8769
PHONE = {0x829A: 1 / 60, 0x829D: 1.8, 0x8827: 100, 0x920A: 4.2}
"""Exposure time, aperture, sensitivity and focal length."""


def _file(tags: dict[int, Any], kind: str = "JPEG", orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if orientation:
        exif[0x0112] = orientation
    exif.get_ifd(IFD).update(tags)
    file = io.BytesIO()
    Image.fromarray(np.tile(np.arange(120, dtype=np.uint8), (80, 1))).save(file, kind, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_phones_photograph_is_known_in_each_format(kind: str) -> None:
    assert read_image(_file(PHONE, kind)).camera
    assert read_image_uint8(_file(PHONE, kind)).camera


@pytest.mark.parametrize("tag", [0x829D, 0x8827, 0x9202, 0x9205, 0x920A, 0xA405, 0xA434])
def test_one_thing_of_a_lens_is_enough(tag: int) -> None:
    value = "lens" if tag == 0xA434 else 100 if tag in (0x8827, 0xA405) else 2.0
    assert read_image(_file({tag: value})).camera


@pytest.mark.parametrize("tags", [{}, {0x829A: 0.05}, {0x9003: "2024:01:01 10:00:00", 0xA002: 120, 0x9286: b"note"}])
def test_what_scanners_and_x_ray_systems_write_is_no_camera(tags: dict[int, Any]) -> None:
    assert not read_image(_file(tags)).camera


def test_a_file_without_such_data_is_none() -> None:
    file = io.BytesIO()
    Image.new("L", (20, 20)).save(file, "PNG")
    assert not read_image(file.getvalue()).camera


def test_a_turned_photograph_is_upright_and_known() -> None:
    image = read_image(_file(PHONE, orientation=6))
    assert image.camera
    assert image.pixels.shape == (120, 80)


def test_broken_data_change_nothing() -> None:
    data = _file(PHONE)
    start = data.index(b"Exif\0\0") + 6
    broken = data[:start] + b"\xff" * 40 + data[start + 40 :]
    image = read_image(broken)
    assert not image.camera
    assert np.array_equal(image.pixels, read_image(data).pixels)
