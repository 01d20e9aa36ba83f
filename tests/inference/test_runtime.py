from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from makers.model_files import SIZE, write_tiny_model
from osteon.errors import InputError, SettingsError
from osteon.export.model_file import read_model_file
from osteon.inference.runtime import make_runtime

openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")

AT_ONCE = """
import sys, threading
import numpy as np
from osteon.export.model_file import read_model_file
from osteon.inference.runtime import make_runtime

runtime = make_runtime(read_model_file(sys.argv[1]), "openvino", 1)
barrier = threading.Barrier(2)
sys.setswitchinterval(1e-6)

def run():
    barrier.wait()
    runtime.run(np.zeros((1, 64, 64), np.uint8))

threads = [threading.Thread(target=run) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


@openvino
def test_both_runtimes_give_the_same_scores(model: Path) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
    ours, theirs = (make_runtime(read_model_file(model), name).run(squares) for name in ("onnxruntime", "openvino"))
    assert ours.probability == pytest.approx(theirs.probability, abs=0.02)  # bfloat16
    assert ours.map is not None
    assert theirs.map is not None
    assert ours.map == pytest.approx(theirs.map, abs=0.02)
    assert len(set(theirs.probability)) == 3  # each square's own, not the last one's


@openvino
@pytest.mark.slow
def test_two_threads_that_start_at_once_do_not_wait_for_each_other_for_ever(model: Path) -> None:
    for _ in range(8):  # before, about one in seven hung
        done = subprocess.run([sys.executable, "-c", AT_ONCE, str(model)], timeout=60, check=False)
        assert done.returncode == 0


def test_unknown_runtimes_and_broken_graphs_are_errors(model: Path) -> None:
    with pytest.raises(SettingsError, match="no runtime 'torch'"):
        make_runtime(read_model_file(model), "torch")  # type: ignore[arg-type]
    file = read_model_file(model)
    broken = type(file)(file.path, b"rubbish", file.card)
    with pytest.raises(InputError, match="onnxruntime cannot run the model"):
        make_runtime(broken, "onnxruntime")
