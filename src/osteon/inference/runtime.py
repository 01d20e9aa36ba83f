"""What runs a model file: OpenVINO where it is installed and faster, else ONNX Runtime."""

from __future__ import annotations

import importlib.util
import logging
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osteon.errors import InputError, OsteonError, SettingsError, require
from osteon.export.graph_ends import check_shape, output_shapes
from osteon.export.model_file import ModelFile
from osteon.machine import EXACT_SUMS, openvino_is_faster, sums_of_8_bits_overflow

log = logging.getLogger(__name__)

RuntimeName = Literal["auto", "onnxruntime", "openvino"]
SQUARE = "square"
OUTPUTS = ("probability", "logit", "embedding", "map")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network gives for a batch of squares.

    Attributes:
        probability: Calibrated, float64, shape ``(n,)``.
        logit: Raw, shape ``(n,)``.
        embedding: Shape ``(n, d)``.
        map: In 0-1, shape ``(n, h, w)``; None where the model has none.
    """

    probability: NDArray[np.float64]
    logit: NDArray[np.float64]
    embedding: NDArray[np.float32]
    map: NDArray[np.float32] | None


class Runtime(ABC):
    """A model file made ready to run; several threads may ask it at once.

    Args:
        file: The model.
    """

    name: str

    def __init__(self, file: ModelFile) -> None:
        self._path, self._shapes = file.path, output_shapes(file.card)
        self._has_run = False

    def run(self, squares: NDArray[np.uint8]) -> Scores:
        """Score squares.

        Args:
            squares: Grey values as :func:`osteon.transforms.preprocess.fit_grey` gives them, ``(n, size, size)``.

        Raises:
            ModelError: The graph cannot be run at all, or gives other shapes than its record says. Once it has run,
                a failure is another's, e.g. of memory, and is raised as it came.
        """
        try:
            values = self._values(squares)
        except Exception as error:  # the runtimes' errors share no base
            if self._has_run:
                raise
            raise _cannot_run(self.name, error, self._path) from None
        return self._checked(values, len(squares))

    @abstractmethod
    def _values(self, squares: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return what the graph gives, by name."""

    def _checked(self, values: dict[str, NDArray[Any]], count: int) -> Scores:
        for name, (_, *shape) in self._shapes.items():
            try:
                check_shape(name, values[name].shape, (count, *shape), self._path)
            except InputError as error:
                raise ModelError(error.what, where=error.where, hint=error.hint) from None
        self._has_run = True
        return _scores(values)


class ModelError(InputError):
    """A model file was whole, but its graph cannot be run or does not give what its record says."""


def make_runtime(file: ModelFile, name: RuntimeName = "auto", threads: int = 1) -> Runtime:
    """Make a model file ready to run.

    Args:
        file: The model.
        name: ``auto`` takes OpenVINO where it is installed and faster (:func:`osteon.machine.openvino_is_faster`),
            else, and where OpenVINO cannot be loaded or cannot run the model, ONNX Runtime.
        threads: Cores for one image.

    Raises:
        InputError: The model cannot be run.
        SettingsError: The runtime is unknown, not installed, or cannot be loaded.
    """
    int8 = file.card.precision == "int8"
    if name == "auto":
        if importlib.util.find_spec("openvino") is not None and openvino_is_faster(int8=int8):
            try:
                return make_runtime(file, "openvino", threads)
            except OsteonError as error:
                log.warning("%s; ONNX Runtime is taken instead", error)
        name = "onnxruntime"
    if name not in ("onnxruntime", "openvino"):
        raise SettingsError(f"there is no runtime {name!r}", where="runtime", hint="auto, onnxruntime or openvino")
    if name == "openvino" and int8 and sums_of_8_bits_overflow():
        log.warning("OpenVINO runs int8 models inexactly on processors without VNNI; ONNX Runtime does not")
    make = OpenVino if name == "openvino" else OnnxRuntime
    try:
        return make(file, threads)
    except ImportError as error:  # e.g. a library that it needs is of another version
        log.debug("%s", make.name, exc_info=error)
        what = f"{make.name} is installed, but cannot be loaded: {error}"
        raise SettingsError(what, where="runtime", hint="Install it again, or take the other runtime") from None
    except (RuntimeError, ValueError) as error:
        raise _cannot_run(make.name, error, file.path) from None


def _cannot_run(runtime: str, error: Exception, path: Path) -> ModelError:
    """Say so in words of our own: a runtime's quote its source code."""
    log.debug("%s on %s", runtime, path, exc_info=error)
    what = f"{runtime} cannot run the model: its graph is damaged, not valid, or asks for more memory than there is"
    newer = f"install a newer {runtime} than {sys.modules[runtime].__version__}"
    return ModelError(what, where=path, hint=f"Export the model again, or {newer}; --model names another")


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    name = "onnxruntime"

    def __init__(self, file: ModelFile, threads: int = 1) -> None:
        super().__init__(file)
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # where it was imported before Osteon, which switches them off
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = True
        if sums_of_8_bits_overflow():
            options.add_session_config_entry(*EXACT_SUMS)
        try:
            self._session = onnxruntime.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise ValueError(str(error)) from None
        self._layout = file.card.input.layout
        self._names = [output.name for output in self._session.get_outputs()]
        self._one_by_one = self._layout == "image"

    def _values(self, squares: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        if not self._one_by_one:
            return dict(zip(self._names, self._session.run(None, {SQUARE: squares}), strict=True))
        parts = [self._session.run(None, {"pixels": square.astype(np.uint16)}) for square in squares]
        return {name: np.concatenate(part) for name, *part in zip(self._names, *parts, strict=True)}

    def run_pixels(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Scores:
        """Score one picture of any size, (height, width), with the preprocessing of the graph itself."""
        values = self._session.run(None, {"pixels": pixels.astype(np.uint16, copy=False)})
        return _scores(dict(zip(self._names, values, strict=True)))


class OpenVino(Runtime):
    """OpenVINO on the CPU, in bfloat16 where the processor multiplies it.

    The graph is cut where the square is ready: OpenVINO would do the preprocessing's whole-number arithmetic in lower
    precision. The square comes from Pillow, which the graph repeats bit for bit.
    """

    name = "openvino"

    def __init__(self, file: ModelFile, threads: int = 1) -> None:
        super().__init__(file)
        openvino = require("openvino", extra="openvino", feature="Running on OpenVINO")
        core = openvino.Core()
        model = core.read_model(file.data)
        size = file.card.input.size
        model = _cut(openvino, model, size) if file.card.input.layout == "image" else model
        model.reshape({model.input(0): openvino.PartialShape([1, size, size])})
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self._compiled = core.compile_model(model, "CPU", options)
        self._names = [
            next(name for name in OUTPUTS if name in output.get_names()) for output in self._compiled.outputs
        ]
        self.precision = str(self._compiled.get_property("INFERENCE_PRECISION_HINT"))
        request = self._compiled.create_infer_request()
        _ = request.get_input_tensor().data  # its first use sets up NumPy, and two threads doing that wait for ever
        self._free: list[Any] = [request]

    def _values(self, squares: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        try:
            request = self._free.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        parts = []
        for square in squares:
            request.get_input_tensor().data[0] = square
            request.infer()
            parts.append([np.array(request.get_output_tensor(index).data) for index in range(len(self._names))])
        self._free.append(request)
        return {name: np.concatenate(part) for name, *part in zip(self._names, *parts, strict=True)}


def _cut(openvino: Any, model: Any, size: int) -> Any:
    """Return the model from the square on."""
    found = [output for node in model.get_ops() for output in node.outputs() if SQUARE in output.get_names()]
    if not found:
        raise ValueError("the graph has no value 'square'")
    parameter = openvino.opset13.parameter([1, size, size], np.uint8, name=SQUARE)
    wide = openvino.opset13.reshape(parameter, np.array([1, 1, size, size]), False)
    found[0].replace(wide.output(0))
    return openvino.Model(model.get_results(), [parameter], "osteon")


def _scores(values: dict[str, Any]) -> Scores:
    return Scores(
        probability=values["probability"].astype(np.float64),
        logit=values["logit"].astype(np.float64),
        embedding=values["embedding"],
        map=values.get("map"),
    )
