from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from makers.model_files import SIZE, write_tiny_model
from osteon.data.images import read_image_uint8
from osteon.errors import InputError, SettingsError
from osteon.export.assemble import write_model
from osteon.export.model_file import ModelFile, read_model_file
from osteon.inference import runtime as module
from osteon.inference.predictor import Predictor
from osteon.inference.runtime import ModelError, OpenVino, make_runtime
from osteon.inference.shipped import shipped_model
from osteon.transforms.preprocess import fit_grey

openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")

AT_ONCE = """
import os, signal, sys, threading
import numpy as np
import openvino
from osteon.export.model_file import read_model_file
from osteon.inference.runtime import make_runtime

def start_two():
    runtime = make_runtime(read_model_file(sys.argv[1]), "openvino", 1)
    barrier = threading.Barrier(2)
    sys.setswitchinterval(1e-6)

    def run():
        barrier.wait()
        runtime.run(np.zeros((1, 64, 64), np.uint8))

    threads = [threading.Thread(target=run) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

for _ in range(8):  # each in a process that has imported everything and run nothing
    child = os.fork()
    if not child:
        signal.alarm(30)
        start_two()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("it hung or failed")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


@openvino
def test_both_runtimes_give_the_same_scores(model: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE))
    squares = (noise * [[[1.0]], [[0.5]], [[0.1]]]).astype(np.uint8)  # unlike enough to differ in bfloat16
    ours, theirs = (make_runtime(read_model_file(model), name).run(squares) for name in ("onnxruntime", "openvino"))
    assert ours.probability == pytest.approx(theirs.probability, abs=0.02)  # bfloat16
    assert ours.map is not None
    assert theirs.map is not None
    assert ours.map == pytest.approx(theirs.map, abs=0.02)
    assert len(set(theirs.probability)) == 3  # each square's own, not the last one's
    assert theirs.probability.argsort().tolist() == ours.probability.argsort().tolist()


@openvino
def test_two_threads_that_start_at_once_do_not_wait_for_each_other_for_ever(model: Path) -> None:
    """Before, about one process in seven hung."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE, str(model)], timeout=280, check=False)
    assert done.returncode == 0


def test_unknown_runtimes_and_broken_graphs_are_errors(model: Path) -> None:
    with pytest.raises(SettingsError, match="no runtime 'torch'"):
        make_runtime(read_model_file(model), "torch")  # type: ignore[arg-type]
    file = read_model_file(model)
    broken = type(file)(file.path, b"rubbish", file.card)
    with pytest.raises(InputError, match="onnxruntime cannot run the model"):
        make_runtime(broken, "onnxruntime")


def _of_other_shapes(model: Path, path: Path, *nodes: onnx.NodeProto) -> ModelFile:
    """Return a file whose graph gives the same names by other nodes, and tells no shapes."""
    changed, card = onnx.load(model), read_model_file(model).card
    outputs = [helper.make_tensor_value_info(each.name, TensorProto.FLOAT, None) for each in changed.graph.output]
    changed.graph.CopyFrom(helper.make_graph(nodes, "g", list(changed.graph.input), outputs))
    write_model(changed, card, path)
    return read_model_file(path)


def _constants(*names: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Constant", [], [name], value_floats=[0.5]) for name in names]


def test_a_graph_that_gives_other_shapes_than_its_record_says_is_refused_with_its_file(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "shapes.onnx"
    file = _of_other_shapes(model, path, *_constants("probability", "logit", "embedding", "map"))
    runtime = make_runtime(file, "onnxruntime")
    with pytest.raises(ModelError, match=r"'embedding' of shape \(1\), its record says \(1, \d+\)") as caught:
        runtime.run(np.zeros((1, SIZE, SIZE), np.uint8))
    assert caught.value.where == str(path)


def test_a_graph_that_cannot_run_is_the_files_fault_and_no_images(model: Path, tmp_path: Path) -> None:
    path, size = tmp_path / "huge.onnx", helper.make_tensor("value", TensorProto.INT64, [1], [10**15])
    nodes = [
        helper.make_node("Constant", [], ["size"], value=size),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["probability"]),
    ]
    file = _of_other_shapes(model, path, *nodes, *_constants("logit", "embedding", "map"))
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    ways: list[Callable[[Predictor], object]] = [
        lambda predictor: predictor.predict(pixels),
        lambda predictor: list(predictor.predict_each([pixels] * 3, workers=2)),
        lambda predictor: predictor.warm_up(),
    ]
    for ask in ways:
        with pytest.raises(ModelError, match="onnxruntime cannot run the model: its graph") as caught:
            ask(Predictor(file, gate=False, runtime="onnxruntime"))  # some versions notice at once
        assert caught.value.where == str(path)
        assert "onnxruntime_src" not in caught.value.what
        assert f"newer onnxruntime than {onnxruntime.__version__}" in str(caught.value.hint)


def test_a_failure_after_the_graph_has_run_costs_one_answer(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(model, gate=False, runtime="onnxruntime")
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    assert predictor.predict(pixels).refusal is None

    def fail(_: np.ndarray) -> dict[str, np.ndarray]:
        raise RuntimeError("no memory")

    monkeypatch.setattr(predictor.runtime, "_values", fail)
    (answer,) = predictor.predict_each([pixels], workers=1)
    assert answer.refusal is not None
    assert answer.refusal.reason == "fault"


def test_int8_is_as_exact_as_its_arithmetic_on_any_processor(fracatlas: Path) -> None:
    """Without VNNI, sums that overflow would raise logits by 0.2 on average, and by 2 at worst."""
    file = read_model_file(shipped_model("fracture-int8"))
    size = file.card.input.size
    files = sorted((fracatlas / "images").rglob("*.jpg"))[::400]
    squares = np.stack([fit_grey(read_image_uint8(each).pixels, size, "pad") for each in files])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
    exact = np.concatenate([session.run(["logit"], {"pixels": each.astype(np.uint16)})[0] for each in squares])
    errors = make_runtime(file, "onnxruntime").run(squares).logit - exact
    assert np.abs(errors).mean() < 0.06  # what rounding halves differently comes to
    assert np.abs(errors).max() < 0.3


@openvino
@pytest.mark.parametrize(
    ("flags", "machine", "int8", "fp32"),
    [
        ({"avx2"}, "x86_64", "onnxruntime", "onnxruntime"),
        ({"avx2", "avx_vnni"}, "x86_64", "openvino", "onnxruntime"),
        ({"avx2", "avx512_vnni", "avx512_bf16"}, "x86_64", "openvino", "openvino"),
        (set(), "AMD64", "onnxruntime", "onnxruntime"),  # Windows does not tell
        (set(), "aarch64", "openvino", "openvino"),
    ],
)
def test_openvino_is_taken_where_it_is_exact_and_faster(
    flags: set[str],
    machine: str,
    int8: str,
    fp32: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("osteon.machine.processor_flags", lambda: frozenset(flags))
    file = read_model_file(model)
    small = replace(file, card=file.card.model_copy(update={"precision": "int8"}))
    assert make_runtime(small).name == int8
    assert not caplog.text
    make_runtime(small, "openvino")
    assert ("without VNNI" in caplog.text) == (int8 == "onnxruntime")
    assert make_runtime(file).name == fp32


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (ImportError("libtbb.so.12: cannot open"), SettingsError, "cannot be loaded: libtbb.so.12"),
        (RuntimeError("at src/core.cpp"), ModelError, "openvino cannot run the model"),
    ],
    ids=["not loaded", "not run"],
)
def test_where_openvino_fails_the_core_runtime_is_taken_unless_it_was_named(
    fault: Exception,
    kind: type[Exception],
    words: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(module, "openvino_is_faster", lambda **_: True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(__version__="1.0"))
    monkeypatch.setattr(OpenVino, "__init__", fail)
    file = read_model_file(model)
    assert make_runtime(file).name == "onnxruntime"
    assert words in caplog.text
    with pytest.raises(kind, match=words):
        make_runtime(file, "openvino")


@openvino
@pytest.mark.parametrize("name", ["fracture", "fracture-int8"])
def test_the_packages_files_run_on_openvino(name: str) -> None:
    file = read_model_file(shipped_model(name))
    assert make_runtime(file, "openvino").run(np.zeros((1, 256, 256), np.uint8)).probability < 0.5
