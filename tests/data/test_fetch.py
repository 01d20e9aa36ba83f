import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon.data import fetch
from osteon.data.fetch import RemoteFile, download, fetch_fracatlas, unpack
from osteon.errors import InputError, SettingsError

FILES = {
    "FracAtlas/dataset.csv": b"image_id,hand,leg,hip,shoulder,fractured,frontal,lateral,oblique\n",
    "FracAtlas/images/Fractured/IMG0000001.jpg": bytes(range(256)) * 2000,
    "FracAtlas/._dataset.csv": b"mac",
    "__MACOSX/FracAtlas/dataset.csv": b"mac",
}


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


class Figshare:
    """A loopback server in the form of figshare's API, which can be told to misbehave."""

    def __init__(self) -> None:
        self.body = archive(FILES)
        self.md5 = hashlib.md5(self.body).hexdigest()
        self.cut_after: list[int] = []
        self.ranges = True
        self.status = 200
        self.listing: Any = None
        self.requests: list[str] = []

    def files(self) -> Any:
        item = {"name": "FracAtlas.zip", "size": len(self.body), "computed_md5": self.md5, "download_url": self.url}
        return [{**item, "download_url": f"{self.url}/download"}] if self.listing is None else self.listing

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.requests.append(f"{handler.path} {asked}".strip())
        if handler.path.endswith("/articles/22363012/files"):
            self._send(handler, 200, json.dumps(self.files()).encode(), {})
        elif self.status != 200:
            self._send(handler, self.status, b"", {})
        elif asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            about = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
            self._send(handler, 206, self.body[start:], {"Content-Range": about})
        else:
            self._send(handler, 200, self.body, {})

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if self.cut_after and not handler.path.endswith("/files"):
            body = body[: self.cut_after.pop(0)]
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Figshare]:
    figshare = Figshare()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            figshare.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    figshare.url = f"http://127.0.0.1:{listening.server_port}"  # type: ignore[attr-defined]
    yield figshare
    listening.shutdown()
    thread.join()
    listening.server_close()


def run(server: Figshare, folder: Path, **options: Any) -> Path:
    return fetch_fracatlas(folder, api=server.url, pause=0.0, **options)  # type: ignore[attr-defined]


def test_fetched_checked_and_unpacked(server: Figshare, tmp_path: Path) -> None:
    folder = run(server, tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "FracAtlas"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "dataset.csv",
        "images/Fractured/IMG0000001.jpg",
    }
    assert (folder / "images/Fractured/IMG0000001.jpg").read_bytes() == FILES[
        "FracAtlas/images/Fractured/IMG0000001.jpg"
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["FracAtlas"]
    assert server.requests == ["/articles/22363012/files", "/download"]


def test_what_is_there_is_not_fetched_again(server: Figshare, tmp_path: Path) -> None:
    run(server, tmp_path, keep_archive=True)
    assert (tmp_path / "FracAtlas.zip").read_bytes() == server.body
    server.requests.clear()
    run(server, tmp_path)
    assert server.requests == []


def test_a_kept_archive_is_used_again(server: Figshare, tmp_path: Path) -> None:
    (tmp_path / "FracAtlas.zip").write_bytes(server.body)
    run(server, tmp_path)
    assert server.requests == ["/articles/22363012/files"]


def test_a_cut_download_goes_on_in_the_same_call(server: Figshare, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    folder = run(server, tmp_path)
    assert (folder / "dataset.csv").is_file()
    assert server.requests[1:] == ["/download", "/download bytes=100000-", "/download bytes=150000-"]


def test_a_cut_download_goes_on_in_the_next_call(server: Figshare, tmp_path: Path) -> None:
    server.cut_after = [200_000]
    with pytest.raises(SettingsError, match="cannot be reached") as caught:
        run(server, tmp_path, retries=0)
    assert "run the command again" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["FracAtlas.zip.part"]
    assert (tmp_path / "FracAtlas.zip.part").stat().st_size == 200_000
    run(server, tmp_path, retries=0)
    assert server.requests[-1] == "/download bytes=200000-"
    assert [path.name for path in tmp_path.iterdir()] == ["FracAtlas"]


def test_a_server_that_cannot_go_on_starts_anew(server: Figshare, tmp_path: Path) -> None:
    server.cut_after = [200_000]
    server.ranges = False
    assert (run(server, tmp_path) / "dataset.csv").is_file()


def test_a_longer_part_than_promised_is_thrown_away(server: Figshare, tmp_path: Path) -> None:
    (tmp_path / "FracAtlas.zip.part").write_bytes(bytes(len(server.body) + 1))
    assert (run(server, tmp_path) / "dataset.csv").is_file()
    assert server.requests[-1] == "/download"


def test_a_wrong_checksum(server: Figshare, tmp_path: Path) -> None:
    server.md5 = "0" * 32
    with pytest.raises(InputError, match="does not have the promised checksum"):
        run(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_part_is_found_out_and_thrown_away(server: Figshare, tmp_path: Path) -> None:
    (tmp_path / "FracAtlas.zip.part").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="checksum"):
        run(server, tmp_path)
    assert (run(server, tmp_path) / "dataset.csv").is_file()


def test_more_bytes_than_promised_are_not_written(server: Figshare, tmp_path: Path) -> None:
    remote = RemoteFile("x.zip", 1000, "0" * 32, f"{server.url}/download")  # type: ignore[attr-defined]
    with httpx.Client() as client, pytest.raises(InputError, match="checksum"):
        download(client, remote, tmp_path, pause=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses(server: Figshare, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(SettingsError, match=f"the server answered {status}"):
        run(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ({"message": "gone"}, "not understood"),
        ([{"name": "x.zip"}], "not understood"),
        ([], "offers no ZIP file any more, but nothing"),
    ],
)
def test_other_answers(server: Figshare, tmp_path: Path, listing: Any, message: str) -> None:
    server.listing = listing
    with pytest.raises(SettingsError, match=message):
        run(server, tmp_path)


def test_a_name_from_the_server_stays_in_the_folder(server: Figshare, tmp_path: Path) -> None:
    server.listing = [{**server.files()[0], "name": "../../evil.zip"}]
    run(server, tmp_path / "in", keep_archive=True)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["FracAtlas", "evil.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="cannot be reached") as caught:
        fetch_fracatlas(tmp_path / "new", api="http://127.0.0.1:9", retries=0)
    assert caught.value.exit_code == 2
    assert "network" in str(caught.value.hint)
    assert not (tmp_path / "new").exists()


def test_an_other_folder_is_not_touched(server: Figshare, tmp_path: Path) -> None:
    (tmp_path / "FracAtlas").mkdir()
    (tmp_path / "FracAtlas" / "mine.txt").touch()
    with pytest.raises(SettingsError, match="exists, but is not FracAtlas"):
        run(server, tmp_path)
    assert [path.name for path in (tmp_path / "FracAtlas").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made(server: Figshare, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="could not be written"):
        run(server, tmp_path / "file" / "in")


# Unpacking


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o120777 << 16
    return member


@pytest.mark.parametrize(
    "member", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt", link("way")]
)
def test_members_that_would_leave_the_folder(tmp_path: Path, member: str | zipfile.ZipInfo) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(inside / "a.zip", "w") as packed:
        packed.writestr("dataset.csv", "x")
        packed.writestr(member, "evil")
    with pytest.raises(InputError, match="would leave the folder"):
        unpack(inside / "a.zip", inside / "target", needs="dataset.csv")
    assert [path.name for path in inside.iterdir()] == ["a.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_archives_without_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"dataset.csv": b"x", "images/1.jpg": b"y"}))
    unpack(tmp_path / "a.zip", tmp_path / "target", needs="dataset.csv")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["dataset.csv", "images"]
    assert (tmp_path / "target").stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a zip", "not a sound ZIP file"),
        (archive({"other.csv": b"x"}), r"holds no dataset\.csv"),
        (archive({}), r"holds no dataset\.csv"),
        (archive({"dataset.csv": b"0123456789"}).replace(b"0123456789", b"0123456780"), "not a sound ZIP file"),
    ],
)
def test_unsound_archives_leave_nothing(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=message):
        unpack(tmp_path / "a.zip", tmp_path / "target", needs="dataset.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_bounds_on_what_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(archive(FILES))
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InputError, match="would unpack to 4 files"):
        unpack(tmp_path / "a.zip", tmp_path / "target", needs="dataset.csv")
    monkeypatch.undo()
    monkeypatch.setattr(fetch, "MAX_MEMBERS", 3)
    with pytest.raises(InputError, match="would unpack to 4 files"):
        unpack(tmp_path / "a.zip", tmp_path / "target", needs="dataset.csv")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(archive(FILES))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(SettingsError, match=r"needs 0\.0 GB, but only"):
        unpack(tmp_path / "a.zip", tmp_path / "target", needs="dataset.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
