"""The command that serves: what it refuses to start on, and that it serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from makers.model_files import write_tiny_model
from osteon.cli.app import main
from osteon.cli.serve import read_token


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTEON_TOKEN", raising=False)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["serve", *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1"])
def test_it_does_not_start_open_to_the_network_without_a_token(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = failed(capsys, "--host", host)
    assert code == 2
    assert "token is needed" in words
    assert "OSTEON_TOKEN" in words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_token_is_read_as_an_editor_writes_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "token").write_text("correct-horse-battery\r\n", encoding=encoding)
    assert read_token(tmp_path / "token") == "correct-horse-battery"


def test_a_weak_or_missing_token_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("short\n")
    (tmp_path / "empty").write_text("\n")
    assert failed(capsys, "--host", "0.0.0.0", "--token-file", str(tmp_path / "token")) == (
        2,
        "error: token: the token has fewer than 16 characters\n"
        "       python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one\n",
    )
    assert failed(capsys, "--token-file", str(tmp_path / "empty"))[0] == 2
    assert "cannot be read" in failed(capsys, "--token-file", str(tmp_path / "none"))[1]
    monkeypatch.setenv("OSTEON_TOKEN", "short")
    assert failed(capsys)[0] == 2


def test_a_taken_port_is_told(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, words = failed(capsys, "--port", port, "--model", str(model))
    assert code == 2
    assert f"127.0.0.1:{port}: cannot listen there: address already in use" in words
    assert "--port" in words


def test_a_missing_or_broken_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = failed(capsys, "--model", str(tmp_path / "none.onnx"))
    assert (code, "model file not found" in words) == (3, True)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    code, words = failed(capsys, "--model", str(tmp_path / "broken.onnx"))
    assert (code, "not an ONNX file" in words) == (3, True)


def test_wrong_limits_and_certificates_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--timeout", "--max-file", "--max-request", "--max-megapixels"):
        code, words = failed(capsys, option, "0")
        assert (code, words) == (2, f"error: {option}: Input should be greater than 0\n")
    code, words = failed(capsys, "--workers", "257")
    assert (code, "--workers: Input should be less" in words) == (2, True)
    code, words = failed(capsys, "--tls-key", str(tmp_path / "key.pem"))
    assert (code, "without its certificate" in words) == (2, True)
    (tmp_path / "bad.pem").write_text("no certificate")
    code, words = failed(capsys, "--tls-certificate", str(tmp_path / "bad.pem"))
    assert (code, "cannot be used" in words) == (2, True)


@pytest.mark.parametrize("told_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(model: Path, told_to_stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "osteon", "serve", "--port", "0", "--model", str(model), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        lines = ""
        while not lines.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            lines += line
        told = json.loads(lines)
        assert told["target"] == "fractured"
        assert httpx.get(f"{told['url']}ready", timeout=20).json()["status"] == "ready"
        page = httpx.get(told["url"], timeout=20)
        assert "Is it <strong>fractured</strong>?" in page.text
        assert "server" not in page.headers
    finally:
        process.send_signal(told_to_stop)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
