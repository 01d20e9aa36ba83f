from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from pydicom import uid

from makers.dicom import NATIVE, dicom_bytes, lut, radiograph
from makers.mutations import mutated
from osteon.data.images import Limits, UnreadableImageError, read_image

SMALL = radiograph(0, (70, 66))
SEEDS = [
    *(dicom_bytes(pixels=SMALL, syntax=syntax) for syntax in NATIVE),
    dicom_bytes(pixels=SMALL, VOILUTSequence=[lut(np.arange(256), 9, 8)], PhotometricInterpretation="MONOCHROME1"),
    dicom_bytes(pixels=SMALL, ShutterShape="CIRCULAR", CenterOfCircularShutter=[30, 30], RadiusOfCircularShutter=20),
    dicom_bytes(pixels=np.repeat((SMALL >> 4).astype(np.uint8)[..., None], 3, axis=2), modality="SC"),
]


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused(rng: np.random.Generator) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(400):
        data = mutated(SEEDS[number % len(SEEDS)], rng)
        try:
            image = read_image(data, limits=Limits(bytes=10_000_000, pixels=4_000_000))
            assert image.pixels.ndim == 2
            assert image.pixels.dtype in (np.uint8, np.uint16)
            outcomes["read"] += 1
        except UnreadableImageError as error:
            outcomes[error.refusal.reason] += 1
    assert outcomes["read"] > 40
    assert len(outcomes) > 5


@pytest.mark.slow
def test_damaged_compressed_pixels_are_read_or_refused(rng: np.random.Generator) -> None:
    outcomes: Counter[str] = Counter()
    for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGExtended12Bit):
        data = dicom_bytes(pixels=SMALL, syntax=syntax)
        at = data.index(b"\xe0\x7f\x10\x00") + 20  # behind the tag of the pixel data and its first, empty item
        for _ in range(12):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    outcomes[read_image(data[:at] + mutated(data[at:], rng)).pixels.shape == SMALL.shape] += 1
                except UnreadableImageError as error:
                    outcomes[error.refusal.reason] += 1
    assert sum(outcomes.values()) == 48
    assert outcomes["corrupt"] > 5
    assert set(outcomes) <= {
        True,
        "corrupt",
        "truncated",
        "decoder_crashed",
        "decoder_memory",
        "pixel_length",
        "no_pixels",
    }
