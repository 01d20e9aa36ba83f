from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
import pytest
from onnx import helper

from makers.real_sizes import of_all_sizes
from osteon.config import Fit
from osteon.data.images import read_image, to_uint8
from osteon.export.graph_rules import IR_VERSION, OPSET
from osteon.export.preprocess_graph import COLUMNS_FIRST, preprocess_graph
from osteon.transforms.preprocess import fit_grey

SIZE = 48


def _session(fit: Fit, size: int = SIZE, *, columns_first: bool = COLUMNS_FIRST) -> onnxruntime.InferenceSession:
    graph = preprocess_graph(size, fit, columns_first=columns_first)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _square(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    return session.run(None, {"pixels": pixels.astype(np.uint16)})[0][0, 0]


SHAPES = [(60, 40), (40, 61), (48, 48), (48, 47), (7, 200), (300, 5), (1, 1), (500, 400), (20, 30), (121, 60), (300, 9)]


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
    assert apart <= 0.001 * SIZE**2 * len(SHAPES)


@pytest.mark.parametrize("fit", ["pad", "squeeze"])
def test_passes_are_in_pillows_order(fit: Fit) -> None:
    """From version 13 on, where the height loses more than twice as many pixels as the width, columns come first."""
    session = _session(fit)
    rng = np.random.default_rng(1)
    for shape in [
        *((SIZE + 2 * lost + more, SIZE + lost) for lost in (3, 20) for more in (0, 1)),
        (100, 45),
        (140, 40),
    ]:
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        assert (_square(session, pixels) != fit_grey(pixels, SIZE, fit)).mean() < 0.001, shape


def test_an_older_pillow_does_rows_first() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (140, 40)).astype(np.uint8)
    older, newer = (_square(_session("pad", columns_first=value), pixels).astype(int) for value in (False, True))
    assert np.abs(older - newer).max() == 1
    fits = newer if int(PIL.__version__.split(".")[0]) >= 13 else older
    assert (fits != fit_grey(pixels, SIZE, "pad")).mean() < 0.001


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_deeper_greys_are_scaled_as_the_store_scales_them(bits: int) -> None:
    session = _session("pad", 32)
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (32, 32)).astype(np.uint16)
    assert np.array_equal(_square(session, pixels), to_uint8(pixels))
    dark = (pixels // 2**6).astype(np.uint16)
    assert np.array_equal(_square(session, dark), to_uint8(dark))


def test_real_radiographs_of_mixed_sizes(fracatlas: Path) -> None:
    session = _session("pad", 320)
    files = of_all_sizes(fracatlas, 20)
    assert len(files) > 50
    shapes = set()
    for file in files:
        pixels = read_image(file).eight_bit()
        shapes.add(pixels.shape)
        off = np.abs(_square(session, pixels).astype(int) - fit_grey(pixels, 320, "pad"))
        assert off.max() <= 1
        assert (off > 0).mean() < 0.001
    assert len(shapes) > 5


@pytest.mark.parametrize("columns_first", [False, True])
def test_the_graph_holds_nothing_that_older_runtimes_cannot_run(columns_first: bool) -> None:
    """ONNX Runtime 1.20 and 1.21 give joined nodes one name if they have none; up to 1.25 it cannot transpose and
    multiply float64 in one."""

    def nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
        below = [item.g for node in graph.node for item in node.attribute if item.type == onnx.AttributeProto.GRAPH]
        return [*graph.node, *(node for part in below for node in nodes(part))]

    found = nodes(preprocess_graph(SIZE, "pad", columns_first=columns_first))
    names = {node.name for node in found}
    assert len(names) == len(found)
    assert "" not in names
    assert "Transpose" not in {node.op_type for node in found}
