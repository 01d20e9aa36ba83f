from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from makers.dicom import dicom, radiograph
from makers.pacs import Archive, free_port, send, until
from osteon.cli.app import main


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("torch")
    from makers.model_files import write_tiny_model

    write_tiny_model(tmp_path / "model.onnx")
    return str(tmp_path / "model.onnx")


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict]:
    command = [sys.executable, "-m", "osteon", "dicom-node", "--json", "--port", "0", "--min-free", "0", *arguments]
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert node.stdout is not None
    lines = []
    while not lines or lines[-1] != "}\n":
        lines.append(node.stdout.readline())
        assert lines[-1], node.communicate()[1]
    return node, json.loads("".join(lines))


@pytest.mark.slow
def test_a_study_comes_in_and_its_documents_go_out(tmp_path, model):
    archive = Archive()
    target = f"ARCHIVE@127.0.0.1:{archive.port}"
    queue = str(tmp_path / "queue")
    node, ready = start("--queue", queue, "--to", target, "--model", model, "--no-gate", "--quiet", "0.5")
    try:
        assert ready["ae_title"] == "OSTEON"
        assert ready["destination"] == target
        odd = {"PatientBirthDate": "Prüfer born", "PatientID": "Prüfer" * 12, "BodyPartExamined": "Prüfer's hand"}
        assert send([dicom(radiograph(size=(120, 96)), **odd)], ready["port"]) == [0]
        until(lambda: len(archive.received) == 3, 60)
    finally:
        node.send_signal(signal.SIGTERM)
        out, err = node.communicate(timeout=60)
        archive.close()
    assert node.returncode == 0, err
    assert out == ""
    assert sorted(document.Modality for document in archive.received) == ["OT", "PR", "SR"]
    assert "Pr" not in err, "pydicom quotes values that break its rules"


@pytest.mark.slow
def test_destination_that_is_away_is_a_warning(tmp_path, model):
    node, _ = start("--queue", str(tmp_path / "queue"), "--to", f"AWAY@127.0.0.1:{free_port()}", "--model", model)
    assert node.stderr is not None
    lines = [node.stderr.readline()]
    while "cannot be reached; documents are kept" not in lines[-1]:
        lines.append(node.stderr.readline())
        assert lines[-1], lines
    node.send_signal(signal.SIGINT)
    _, err = node.communicate(timeout=60)
    assert node.returncode == 0
    assert "Traceback" not in "".join(lines) + err


@pytest.mark.slow  # a process of its own: how long it lives is the point
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_it_ends_though_its_destination_is_silent_and_it_is_told_so_twice(tmp_path, model):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"MUTE@127.0.0.1:{silent.getsockname()[1]}"
        node, _ = start("--queue", str(tmp_path / "queue"), "--to", target, "--model", model)
        silent.settimeout(20)
        held, _ = silent.accept()
        assert held.recv(10) != b"", "it asks whether the destination is there"
        node.send_signal(signal.SIGTERM)
        node.send_signal(signal.SIGTERM)
        _, err = node.communicate(timeout=15)
    assert (node.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "nonsense"], "no destination"),
        (["--to", "ftp://host"], "no URL"),
        (["--host", "0.0.0.0"], "anybody"),
        (["--ae-title", "TOO LONG FOR A TITLE"], "not an AE title"),
        (["--allow-address", "10.0.0.300"], "10.0.0.300"),
        (["--pooling", "median"], "median"),
        (["--tls-certificate", "x.pem"], "both"),
        (["--tls-authority", "x.pem"], "nobody would be checked"),
        (["--tls-authority", "x.pem", "--to", "http://host"], "nobody would be checked"),
        (["--tls-authority", "x.pem", "--to", "HTTPS://host"], "authority's certificates cannot be used"),
        (["--to-tls"], "no destination"),
        (["--to-tls", "--to", "http://host"], "in the clear"),
    ],
)
def test_wrong_settings(tmp_path, capsys, arguments, words):
    assert main(["dicom-node", "--queue", str(tmp_path / "q"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_missing_model(tmp_path, capsys):
    assert main(["dicom-node", "--queue", str(tmp_path / "q"), "--model", str(tmp_path / "none.onnx")]) == 3
    assert "none.onnx" in capsys.readouterr().err


def test_a_model_that_cannot_run_ends_it_before_anything_is_received(tmp_path, capsys, model, monkeypatch):
    from osteon.inference.predictor import Predictor
    from osteon.inference.runtime import ModelError

    def fails(predictor):
        raise ModelError("onnxruntime cannot run the model: its graph fails", where=model)

    monkeypatch.setattr(Predictor, "warm_up", fails)
    assert main(["dicom-node", "--queue", str(tmp_path / "q"), "--model", model, "--port", "0"]) == 3
    assert "cannot run the model" in capsys.readouterr().err


def test_host_that_can_be_no_name(tmp_path, capsys, model):
    where = ["--host", "two..dots", "--allow-address", "10.0.0.0/8", "--port", "0"]
    assert main(["dicom-node", "--queue", str(tmp_path / "q"), "--model", model, *where]) == 2
    assert "cannot be listened on" in capsys.readouterr().err


def test_port_taken(tmp_path, capsys, model):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        port = str(place.getsockname()[1])
        assert main(["dicom-node", "--queue", str(tmp_path / "q"), "--model", model, "--port", port]) == 2
    assert "is taken" in capsys.readouterr().err
