"""Services that hang: documents wait, and nothing else does."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from makers.dicom import dicom, dicom_bytes, radiograph
from makers.pacs import free_port
from osteon.clinical.dicomweb import DicomWeb
from osteon.clinical.sender import NoAnswerError, UnreachableError
from osteon.errors import InputError, SettingsError

KIND = b'Content-Type: multipart/related; type="application/dicom"; boundary=edge\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\n" + KIND + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def service(*pieces: bytes, pause: float = 0.05, drip: bytes = b"") -> Iterator[str]:
    """Answer one request with these pieces, then with a drip without end."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = server.accept()
        with client:
            client.recv(100)
            for piece in pieces:
                client.sendall(piece)
            try:
                while drip:
                    client.sendall(drip)
                    time.sleep(pause)
            except OSError:
                return
            ended.wait(10)

    ended = threading.Event()
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        ended.set()
        server.close()


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
@pytest.mark.parametrize("drip", [b"", b"a"])
def test_service_that_hangs_is_given_up(tmp_path, begin, drip):
    (tmp_path / "x.dcm").write_bytes(b"x")
    start = time.monotonic()
    with service(begin, drip=drip) as url, pytest.raises(NoAnswerError):
        list(DicomWeb(url, seconds=0.2, longest=0.4).deliver([tmp_path / "x.dcm"]))
    assert time.monotonic() - start < 5


def test_service_that_is_not_there(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"x")
    with pytest.raises(UnreachableError) as caught:
        list(DicomWeb(f"http://127.0.0.1:{free_port()}", seconds=1).deliver([tmp_path / "x.dcm"]))
    assert not isinstance(caught.value, NoAnswerError)
    assert "cannot be reached" in caught.value.what


def test_service_whose_name_can_be_none_cannot_be_reached(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"x")
    with pytest.raises(UnreachableError, match="cannot be reached: there can be no such name"):
        list(DicomWeb("http://two..dots/x", seconds=1).deliver([tmp_path / "x.dcm"]))


def test_file_that_is_gone_is_no_fault_of_the_service(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(DicomWeb(f"http://127.0.0.1:{free_port()}", seconds=1).deliver([tmp_path / "gone.dcm"]))


@pytest.mark.parametrize(("begin", "drip"), [(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"), (CHUNKED, b"1\r\na\r\n")])
def test_study_that_drips_is_given_up(tmp_path, begin, drip):
    start = time.monotonic()
    with service(begin, drip=drip) as url, pytest.raises(NoAnswerError, match="took longer than 0"):
        DicomWeb(url, seconds=0.2, longest_study=0.4).fetch_study("1.2.3", tmp_path)
    assert time.monotonic() - start < 5


def test_image_that_comes_twice_counts_once(tmp_path):
    image = dicom(radiograph(size=(8, 8)))
    with service(answered("200 OK", dicom_bytes(image), dicom_bytes(image))) as url:
        assert len(DicomWeb(url).fetch_study(image.StudyInstanceUID, tmp_path)) == 1


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("401 Unauthorized", SettingsError, "does not let us in"),
        ("403 Forbidden", InputError, "does not give us this study"),
        ("520 Odd", UnreachableError, "busy or broken"),
    ],
)
def test_services_that_give_no_study(tmp_path, status, kind, words):
    with service(answered(status)) as url, pytest.raises(kind, match=words):
        DicomWeb(url).fetch_study("1.2.3", tmp_path)


def test_answer_compressed_twice_is_not_unpacked(tmp_path):
    """A few kilobytes of it may be terabytes."""
    twice = gzip.compress(gzip.compress(bytes(10_000_000)))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: {len(twice)}\r\n".encode()
    with service(head + KIND + b"\r\n" + twice) as url, pytest.raises(NoAnswerError, match="more than once"):
        DicomWeb(url).fetch_study("1.2.3", tmp_path)


def test_answer_compressed_once_is_unpacked(tmp_path):
    image = dicom(radiograph(size=(8, 8)))
    _, _, body = answered("200 OK", dicom_bytes(image)).partition(b"\r\n\r\n")
    packed = gzip.compress(body)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n".encode()
    with service(head + KIND + b"\r\n" + packed) as url:
        (path,) = DicomWeb(url).fetch_study(image.StudyInstanceUID, tmp_path)
    assert path.read_bytes() == dicom_bytes(image)


def answered(status: str, *files: bytes) -> bytes:
    parts = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    body = parts + b"--edge--\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + KIND + b"\r\n" + body


def test_part_of_a_study_is_not_taken_for_the_whole(tmp_path):
    image = dicom(radiograph(size=(8, 8)))
    answer = answered("206 Partial Content", dicom_bytes(image))
    with service(answer) as url, pytest.raises(InputError, match="only a part"):
        DicomWeb(url).fetch_study(image.StudyInstanceUID, tmp_path)


def test_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    image = dicom(radiograph(size=(8, 8)))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("osteon.clinical.dicomweb.write_durably", full)
    with (
        service(answered("200 OK", dicom_bytes(image))) as url,
        pytest.raises(SettingsError, match="No space") as caught,
    ):
        DicomWeb(url).fetch_study(image.StudyInstanceUID, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_image_of_another_study_is_refused(tmp_path):
    answer = answered("200 OK", dicom_bytes(dicom(radiograph(size=(8, 8)))))
    with service(answer) as url, pytest.raises(InputError, match="another study"):
        DicomWeb(url).fetch_study("1.2.3", tmp_path)


@pytest.mark.parametrize(("reason", "taken"), [(0x0111, True), (0x0110, False)])
def test_document_that_the_service_has_already_is_sent(tmp_path, reason, taken):
    (tmp_path / "x.dcm").write_bytes(b"x")
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}
    body = json.dumps(failed).encode()
    answer = f"HTTP/1.1 409 Conflict\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with service(answer) as url:
        assert list(DicomWeb(url).deliver([tmp_path / "x.dcm"])) == [taken]


STORED = {"00081199": {"vr": "SQ", "Value": [{}]}}
NO_ROOM = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}


def said(body: str, status: str = "200 OK", kind: str = "application/dicom+json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (said(json.dumps(STORED)), True),
        (said(""), True),
        (said(json.dumps(STORED | {"0008119A": NO_ROOM["00081198"] | {"Value": [{}]}}), "202 Accepted"), False),
        (said("", "409 Conflict"), False),
    ],
)
def test_what_became_of_a_document(tmp_path, answer, taken):
    (tmp_path / "x.dcm").write_bytes(b"x")
    with service(answer) as url:
        assert list(DicomWeb(url).deliver([tmp_path / "x.dcm"])) == [taken]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("<html>Please log in</html>", kind="text/html"), "'text/html' that does not say"),
        (said("{}"), "does not say"),
        (said(json.dumps(NO_ROOM), "409 Conflict"), "out of resources"),
        (said("", "522 Odd"), "busy or broken"),
        (said(" " * 1_100_000), "more length"),
        (said("nonsense that is long enough", "200 OK\r\nContent-Encoding: gzip"), "broke off"),
    ],
)
def test_answer_that_says_nothing_of_a_document_is_no_yes(tmp_path, answer, words):
    """The page of a login before the service would else be the end of a report."""
    (tmp_path / "x.dcm").write_bytes(b"x")
    with service(answer) as url, pytest.raises(NoAnswerError, match=words):
        list(DicomWeb(url).deliver([tmp_path / "x.dcm"]))


def test_what_a_service_gets_with_a_document(tmp_path, monkeypatch):
    """Its length, for some services answer 411 (Length Required) to a body in chunks; the token; and no proxy any."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "x.dcm").write_bytes(bytes(300_000))
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, client.makefile("rb") as lines:
                head = dict(line.split(b": ", 1) for line in iter(lines.readline, b"\r\n") if b": " in line)
                assert b"Transfer-Encoding" not in head
                assert head[b"Authorization"] == b"Bearer secret\r\n"
                got.append(lines.read(int(head[b"Content-Length"])))
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert list(DicomWeb(url, "secret", seconds=5).deliver([tmp_path / "x.dcm"])) == [True]
    assert bytes(300_000) in got[0]
    assert got[0].endswith(b"--\r\n")


@pytest.mark.parametrize("status", ["404 Not Found", "302 Found"])
def test_service_that_is_elsewhere_is_no_fault_of_a_document(tmp_path, status):
    (tmp_path / "x.dcm").write_bytes(b"x")
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with service(answer) as url, pytest.raises(UnreachableError, match="no DICOMweb service") as caught:
        list(DicomWeb(url).deliver([tmp_path / "x.dcm"]))
    assert not isinstance(caught.value, NoAnswerError)
