"""Smaller model files: weights of 16 bits, or a network of 8-bit whole numbers calibrated on images."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationMethod

SMALLEST = 256
"""Tensors of fewer elements stay in float32: they save nothing."""

FIRST_SHARE = 0.2
"""Share of the convolutions, from the image on, that int8 leaves alone."""


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep the weights in 16 bits; each is made float32 again when the file is loaded, so that nothing else changes."""
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    casts = []
    for tensor in kept.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALLEST:
            continue
        name = tensor.name
        low = np.clip(values, np.finfo(np.float16).min, np.finfo(np.float16).max).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(low, name + "_fp16"))
        casts.append(helper.make_node("Cast", [name + "_fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *kept.graph.node]
    del kept.graph.node[:]
    kept.graph.node.extend(nodes)
    return kept


def to_int8(model: onnx.ModelProto, squares: NDArray[np.uint8]) -> onnx.ModelProto:
    """Quantise a network's convolutions to 8-bit whole numbers, weights by channel (static quantisation, QDQ form).

    The first fifth of the convolutions and the map's and the classifier's last layers stay in float32: they hold few
    weights, and all hangs on them. Ranges of activations leave out one value in 100,000 at either end.

    Args:
        model: From ``grey`` (n, 1, size, size), float32, to its outputs.
        squares: Images that the ranges of activations are measured on, ``(n, size, size)``.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder) / name for name in ("source.onnx", "ready.onnx", "result.onnx"))
        onnx.save(model, source)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        try:
            _quantise(ready, result, squares, CalibrationMethod.Percentile)
        except ValueError:  # an activation that hardly varies has no histogram
            _quantise(ready, result, squares, CalibrationMethod.MinMax)
        return onnx.load(str(result))


def _quantise(ready: Path, result: Path, squares: NDArray[np.uint8], method: CalibrationMethod) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = onnx.load(str(ready)).graph
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        quantize_static(
            str(ready),
            str(result),
            _Reader(squares),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            op_types_to_quantize=["Conv", "Clip", "Add", "Relu", "MaxPool", "Concat"],
            nodes_to_exclude=[*_first_layers(graph), *_last_layers(graph)],
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep its advice to pre-process the model, which is done, out of the log."""

    def wanted(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)


class _Reader:
    """Gives the calibration images one by one."""

    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self._items: Iterator[NDArray[np.uint8]] = iter(squares)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        square = next(self._items, None)
        return None if square is None else {"grey": square[None, None].astype(np.float32)}


def _first_layers(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes up to the end of the first convolutions."""
    places = [place for place, node in enumerate(graph.node) if node.op_type == "Conv"]
    kept = round(FIRST_SHARE * len(places))
    return [node.name for node in graph.node[: places[kept]]] if 0 < kept < len(places) else []


def _last_layers(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes of the map's and the classifier's heads."""
    return [node.name for node in graph.node if "/mapper/" in node.name or node.name.startswith("/head/")]
