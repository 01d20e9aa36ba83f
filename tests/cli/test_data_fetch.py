import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from osteon.cli.app import main


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that offers a very small FracAtlas."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("FracAtlas/dataset.csv", "image_id,hand,leg,hip,shoulder,fractured,frontal,lateral,oblique\n")
    body = buffer.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered = {
                "name": "FracAtlas.zip",
                "size": len(body),
                "computed_md5": hashlib.md5(body).hexdigest(),
                "download_url": f"{address}/zip",
            }
            answer = body if self.path == "/zip" else json.dumps([offered]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_fracatlas(api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "fracatlas", "--to", str(tmp_path), "--api", api]) == 0
    out = capsys.readouterr().out
    assert f"FracAtlas (CC BY 4.0) is in {tmp_path / 'FracAtlas'}" in out
    assert f"Next: osteon data audit {tmp_path / 'FracAtlas'}" in out
    assert (tmp_path / "FracAtlas" / "dataset.csv").is_file()


def test_fracatlas_as_json(api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "fracatlas", "--to", str(tmp_path), "--api", api, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "data_set": "fracatlas",
        "path": str(tmp_path / "FracAtlas"),
        "licence": "CC BY 4.0",
    }


def test_mura_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "mura", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Research Use Agreement" in out
    assert "https://stanfordmlgroup.github.io/competitions/mura/" in out
    assert f"osteon data audit {tmp_path}/MURA-v1.1" in out
    assert list(tmp_path.iterdir()) == []
    assert main(["data", "fetch", "mura", "--json"]) == 0
    assert "agreement" in json.loads(capsys.readouterr().out)["instructions"]


def test_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert main(["data", "fetch", "fracatlas", "--to", str(tmp_path), "--api", "http://127.0.0.1:9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: http://127.0.0.1:9/articles/22363012/files: cannot be reached" in captured.err
    assert "Check the network" in captured.err
    assert "Traceback" not in captured.err


def test_an_unknown_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "imagenet"]) == 2
    assert "Known: fracatlas, mura" in capsys.readouterr().err
