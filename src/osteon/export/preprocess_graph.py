"""The preprocessing as part of an ONNX graph: grey pixels of any size and depth to the square that the network sees.

It repeats :mod:`osteon.transforms.preprocess`. Pillow's bilinear filter works in whole numbers: weights of 22 bits,
rows first, each pass rounded to 8 bits. Here both passes are products of a matrix of such weights with the picture in
float64, which holds every sum exactly, so that all but very few pixels are the same, and those are one grey level off.
From version 13 on, Pillow does the columns first where the height loses more than twice as many pixels as the width;
the graph does as the Pillow does that it was made with. (In the other order, a tenth of a tall picture's pixels are one
grey level off, and probabilities by up to 0.08.)
ONNX's own ``Resize`` was tried and left: with ``antialias=1``, ONNX Runtime is up to 11 grey levels off, and OpenVINO
does not antialias at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import PIL
from onnx import TensorProto, helper, numpy_helper

from osteon.settings import Fit

PIXELS, SQUARE = "pixels", "square"
_COEFFICIENT = float(1 << 22)
_DEPTHS = (8, 10, 12, 14, 16)
COLUMNS_FIRST = int(PIL.__version__.split(".")[0]) >= 13
"""Whether the installed Pillow does the columns of tall pictures first."""


class GraphBuilder:
    """Collects nodes, each value named by what makes it.

    Nodes have names, too: ONNX Runtime before 1.22 refuses a graph in which it joins two that have none.
    """

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        self._count = 0

    def __call__(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        self._count += 1
        output = name or f"{self._prefix}{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: float | int | Sequence[int] | Sequence[float], dtype: type[np.generic]) -> str:
        """Add a constant; return its name."""
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype=dtype)))

    def cast(self, value: str, to: int) -> str:
        """Add a cast; return its output's name."""
        return self("Cast", value, to=to)


def preprocess_graph(size: int, fit: Fit, *, columns_first: bool = COLUMNS_FIRST) -> onnx.GraphProto:
    """Return the graph from ``pixels`` (height, width), uint16, to ``square`` (1, 1, size, size), uint8.

    8-bit grey values are given as they are, deeper ones are first brought to 8 bits as
    :func:`osteon.data.images.to_uint8` does. One of 8 bits that already is ``size`` x ``size`` is passed through.

    Args:
        size: Rows and columns of the square.
        fit: How the picture is brought into it.
        columns_first: Whether the columns of tall pictures are done first, as by Pillow from version 13 on.
    """
    build = GraphBuilder("preprocess_")
    grey = build.cast(PIXELS, TensorProto.FLOAT)
    brightest = build("ReduceMax", grey, keepdims=0)
    wanted = build.constant([size, size], np.int64)
    apart = build("ReduceSum", build("Abs", build("Sub", build("Shape", PIXELS), wanted)), keepdims=0)
    same = build("Equal", apart, build.constant(0, np.int64))
    ready = build("And", same, build("Less", brightest, build.constant(256.0, np.float32)))
    resized = _resized(brightest, size, fit, columns_first=columns_first)
    square = build("If", ready, then_branch=_untouched(), else_branch=resized)
    build("Reshape", square, build.constant([1, 1, size, size], np.int64), name=SQUARE)
    return helper.make_graph(
        build.nodes,
        "preprocess",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT16, ["height", "width"])],
        [helper.make_tensor_value_info(SQUARE, TensorProto.UINT8, [1, 1, size, size])],
    )


def _eight_bits(build: GraphBuilder, brightest: str) -> str:
    """Scale by the smallest depth that holds the brightest pixel; return float grey values (height, width).

    The pixels are cast here, not outside of the condition: a runtime that joins the two casts warns of it.
    """
    top = build.constant(float(2 ** _DEPTHS[-1] - 1), np.float32)
    for depth in reversed(_DEPTHS[:-1]):
        smaller = build("Less", brightest, build.constant(float(2**depth), np.float32))
        top = build("Where", smaller, build.constant(float(2**depth - 1), np.float32), top)
    factor = build("Div", build.constant(255.0, np.float64), build.cast(top, TensorProto.DOUBLE))
    scaled = build("Mul", build.cast(PIXELS, TensorProto.DOUBLE), factor)
    return build("Round", scaled)


def _untouched() -> onnx.GraphProto:
    build = GraphBuilder("same_")
    return _branch(build, "untouched", build.cast(PIXELS, TensorProto.UINT8))


def _resized(brightest: str, size: int, fit: Fit, *, columns_first: bool) -> onnx.GraphProto:
    build = GraphBuilder("resize_")
    grey = _eight_bits(build, brightest)
    shape = build("Shape", grey)
    side = build.constant([size], np.int64)
    fitted = _fitted(build, shape, side, fit)
    rest = build("Sub", side, fitted)
    before = build("Div", rest, build.constant([2], np.int64))
    rows, columns = (_filter(build, shape, fitted, before, axis, size) for axis in (0, 1))
    if not columns_first:
        output = _product(build, rows, _product(build, grey, columns))
        return _branch(build, "resized", build.cast(output, TensorProto.UINT8))
    tall = _is_tall(build, shape, fitted)
    orders = {name: _in_order(name, rows, grey, columns) for name in ("columns_first", "rows_first")}
    chosen = build("If", tall, then_branch=orders["columns_first"], else_branch=orders["rows_first"])
    return _branch(build, "resized", build("Identity", chosen))


def _is_tall(build: GraphBuilder, shape: str, fitted: str) -> str:
    """Return whether the height loses pixels, and more than twice as many as the width."""
    lost = build("Sub", shape, fitted)
    zero, one, two = (build.constant(value, np.int64) for value in (0, 1, 2))
    height, width = build("Gather", lost, zero), build("Gather", lost, one)
    return build("And", build("Greater", height, zero), build("Greater", height, build("Mul", width, two)))


def _in_order(name: str, rows: str, grey: str, columns: str) -> onnx.GraphProto:
    build = GraphBuilder(f"{name}_")
    if name == "columns_first":
        output = _product(build, _product(build, rows, grey), columns)
    else:
        output = _product(build, rows, _product(build, grey, columns))
    return _branch(build, name, build.cast(output, TensorProto.UINT8))


def _fitted(build: GraphBuilder, shape: str, side: str, fit: Fit) -> str:
    """Return how many rows and columns the picture takes in the square, int64 (2,)."""
    if fit == "squeeze":
        return build("Concat", side, side, axis=0)
    longest = build("ReduceMax", shape, keepdims=1)
    two = build.constant([2], np.int64)
    above = build("Add", build("Mul", build("Mul", shape, two), side), longest)
    return build("Max", build("Div", above, build("Mul", longest, two)), build.constant([1], np.int64))


def _filter(build: GraphBuilder, shape: str, fitted: str, before: str, axis: int, size: int) -> str:
    """Return Pillow's weights along one axis, whole numbers in float64, zero where there is padding.

    They are (size, rows) for ``axis`` 0 and (columns, size) for 1, as they are multiplied: ONNX Runtime joins a
    transposition and a product of float64 to an operator that it cannot run.
    """
    pick = build.constant(axis, np.int64)
    length, taken, first = (build("Gather", values, pick) for values in (shape, fitted, before))
    half, one, zero = (build.constant(value, np.float64) for value in (0.5, 1.0, 0.0))
    scale = build("Div", build.cast(length, TensorProto.DOUBLE), build.cast(taken, TensorProto.DOUBLE))
    support = build("Max", scale, one)
    start, step = build.constant(0, np.int64), build.constant(1, np.int64)
    over, along = (build.constant([value], np.int64) for value in (1 - axis, axis))
    outputs = build("Range", start, build.constant(size, np.int64), step)
    place = build("Sub", build.cast(outputs, TensorProto.DOUBLE), build.cast(first, TensorProto.DOUBLE))
    centre = build("Unsqueeze", build("Mul", build("Add", place, half), scale), over)
    pixels = build("Unsqueeze", build.cast(build("Range", start, length, step), TensorProto.DOUBLE), along)
    apart = build("Abs", build("Add", build("Sub", pixels, centre), half))
    near = build("Mul", apart, build("Div", one, support))
    weights = build("Max", build("Sub", one, near), zero)
    share = build("Div", weights, build("ReduceSum", weights, over, keepdims=1))
    whole = build("Floor", build("Add", build("Mul", share, build.constant(_COEFFICIENT, np.float64)), half))
    within = build(
        "And", build("GreaterOrEqual", place, zero), build("Less", place, build.cast(taken, TensorProto.DOUBLE))
    )
    return build("Where", build("Unsqueeze", within, over), whole, zero)


def _product(build: GraphBuilder, left: str, right: str) -> str:
    """Multiply, one side of it weights, and round to grey values as Pillow does."""
    total = build("MatMul", left, right)
    rounded = build(
        "Add", build("Div", total, build.constant(_COEFFICIENT, np.float64)), build.constant(0.5, np.float64)
    )
    bounded = build("Min", build("Floor", rounded), build.constant(255.0, np.float64))
    return build("Max", bounded, build.constant(0.0, np.float64))


def _branch(build: GraphBuilder, name: str, output: str) -> onnx.GraphProto:
    return helper.make_graph(
        build.nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.UINT8, ["rows", "columns"])]
    )
