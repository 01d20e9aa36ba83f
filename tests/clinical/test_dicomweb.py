"""Services that hang: documents wait, and nothing else does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from makers.pacs import free_port
from osteon.clinical.dicomweb import DicomWeb
from osteon.clinical.sender import NoAnswerError, UnreachableError

STATUS = b"HTTP/1.1 200 OK\r\n"


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
        list(DicomWeb(url, seconds=0.5, longest=1.0).deliver([tmp_path / "x.dcm"]))
    assert time.monotonic() - start < 5


def test_service_that_is_not_there(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"x")
    with pytest.raises(UnreachableError) as caught:
        list(DicomWeb(f"http://127.0.0.1:{free_port()}", seconds=1).deliver([tmp_path / "x.dcm"]))
    assert not isinstance(caught.value, NoAnswerError)
    assert "cannot be reached" in caught.value.what


def test_file_that_is_gone_is_no_fault_of_the_service(tmp_path):
    with service() as url, pytest.raises(FileNotFoundError):
        list(DicomWeb(url, seconds=1).deliver([tmp_path / "gone.dcm"]))
