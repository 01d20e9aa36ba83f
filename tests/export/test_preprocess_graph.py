from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from osteon.config import Fit
from osteon.data.images import read_image, to_uint8
from osteon.export.preprocess_graph import OPSET, preprocess_graph
from osteon.transforms.preprocess import fit_grey

SIZE = 48


def _session(fit: Fit, size: int = SIZE) -> onnxruntime.InferenceSession:
    model = helper.make_model(preprocess_graph(size, fit), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _square(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    return session.run(None, {"pixels": pixels.astype(np.uint16)})[0][0, 0]


SHAPES = [(60, 40), (40, 61), (48, 48), (48, 47), (7, 200), (300, 5), (1, 1), (500, 400), (20, 30)]


@pytest.mark.parametrize("fit", ["pad", "squeeze"])
def test_any_shape_becomes_the_stores_square(fit: Fit) -> None:
    session = _session(fit)
    rng = np.random.default_rng(0)
    apart = 0
    for shape in SHAPES:
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        got, want = _square(session, pixels), fit_grey(pixels, SIZE, fit)
        assert got.dtype == np.uint8
        off = np.abs(got.astype(int) - want)
        assert off.max() <= 1, shape
        apart += int((off > 0).sum())
    if fit == "pad":  # squeezed pictures may go through Pillow 13's other order of passes
        assert apart <= 0.001 * SIZE**2 * len(SHAPES)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_deeper_greys_are_scaled_as_the_store_scales_them(bits: int) -> None:
    session = _session("pad", 32)
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (32, 32)).astype(np.uint16)
    assert np.array_equal(_square(session, pixels), to_uint8(pixels))
    dark = (pixels // 2**6).astype(np.uint16)
    assert np.array_equal(_square(session, dark), to_uint8(dark))


def test_real_radiographs_of_mixed_sizes(fracatlas: Path) -> None:
    session = _session("pad", 320)
    files = sorted((fracatlas / "images").glob("*/*.jpg"))[::16]
    assert len(files) > 190
    shapes = set()
    for file in files:
        pixels = read_image(file).eight_bit()
        shapes.add(pixels.shape)
        off = np.abs(_square(session, pixels).astype(int) - fit_grey(pixels, 320, "pad"))
        assert off.max() <= 1
        assert (off > 0).mean() < 0.001
    assert len(shapes) > 5
