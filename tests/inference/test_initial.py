"""Which names of weights mean a model file, and which files training can start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from makers.model_files import write_tiny_model
from makers.trained_files import write_trained_file
from osteon.errors import InputError
from osteon.export.assemble import write_model
from osteon.inference.initial import read_initial


@pytest.mark.parametrize("named", ["default", "none", "runs/first", "weights.safetensors", "best.ckpt"])
def test_other_weights_are_no_model_file(named: str) -> None:
    assert read_initial(named) is None


def test_a_folder_of_the_name_of_a_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fracture").mkdir()
    assert read_initial("fracture") is None


def test_a_file_is_read_with_what_it_says_of_itself(tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx")
    file = read_initial(str(tmp_path / "model.onnx"))
    assert file is not None
    assert (file.network, file.size, file.fit, file.channels, file.localises) == ("hybrid", 64, "pad", 1, True)
    assert (file.mean, file.sd) == (52.47, 68.79)
    assert file.options is not None
    assert file.options["hidden"] == 8
    assert file.data["name"] == "made up"
    assert set(file.answers(np.zeros((1, 64, 64), dtype=np.uint8))) == {"logit", "map"}


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_trained_file(path)
    first = read_initial(str(path))
    write_trained_file(path, name="another")
    second = read_initial(str(path))
    assert first is not None
    assert second is not None
    assert (first.title, second.title) == ("tiny", "another")
    assert first.sha256 != second.sha256


@pytest.mark.parametrize("named", ["fracture-int8", "model.onnx"])
def test_whole_numbers_are_not_trained_on(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "model.onnx", precision="int8")
    with pytest.raises(InputError, match="cannot be trained on") as caught:
        read_initial(named)
    assert "--weights fracture" in str(caught.value.hint)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_trained_file(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError):
        read_initial(str(path))


def test_a_graph_that_does_not_standardise_is_not_understood(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    _, card = write_trained_file(path)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Sub" and "grey" in node.input).op_type = "Add"
    write_model(model, card, path)
    with pytest.raises(InputError, match="its graph is not understood"):
        read_initial(str(path))
