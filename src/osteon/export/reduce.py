"""Smaller model files: weights of 16 bits, or a network of 8-bit whole numbers calibrated on images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 256
"""Tensors of fewer elements stay in float32: they save nothing."""


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

    The map's and the classifier's last layers stay in float32: they are small, and all hangs on them.

    Args:
        model: From ``grey`` (n, 1, size, size), float32, to its outputs.
        squares: Images that the ranges of activations are measured on, ``(n, size, size)``.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().addFilter(_Quiet())
    with tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder) / name for name in ("source.onnx", "ready.onnx", "result.onnx"))
        onnx.save(model, source)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(result),
            _Reader(squares),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Clip", "Add", "Relu", "MaxPool", "Concat"],
            nodes_to_exclude=_last_layers(onnx.load(str(ready))),
        )
        return onnx.load(str(result))


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()


class _Reader:
    """Gives the calibration images one by one."""

    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self._items: Iterator[NDArray[np.uint8]] = iter(squares)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        square = next(self._items, None)
        return None if square is None else {"grey": square[None, None].astype(np.float32)}


def _last_layers(model: onnx.ModelProto) -> list[str]:
    """Return the nodes of the map's and the classifier's heads."""
    return [node.name for node in model.graph.node if "/mapper/" in node.name or node.name.startswith("/head/")]
