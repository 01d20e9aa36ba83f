"""TLS: nobody is trusted silently, and what is wrong is told."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from makers.pacs import program
from osteon.clinical.dicomweb import DicomWeb
from osteon.clinical.sender import DicomDestination, UnreachableError
from osteon.clinical.tls import client_side, server_side
from osteon.errors import InputError, SettingsError


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Make certificates signed by themselves, and their keys: ``here`` of this machine, ``elsewhere`` of another."""
    for name, alternative in (("here", "DNS:localhost"), ("elsewhere", "DNS:other.example")):
        about = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        about += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"]
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        command = [program("openssl", "openssl"), "req", "-x509", *about, *files]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return tmp_path


@contextmanager
def secured(folder: Path, name: str, authority: Path | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Answer whoever gets TLS going with 404; yield the port and what was said to it."""
    context = server_side(folder / f"{name}.pem", folder / f"{name}.key", authority)
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            try:
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as client:
                    heard.append(client.recv(10_000))
                    client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                plain.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], heard


def fetch(port: int, folder: Path, tls: ssl.SSLContext | None) -> None:
    DicomWeb(f"https://localhost:{port}", token="secret", tls=tls, seconds=5).fetch_study("1.2.3", folder)


@pytest.mark.parametrize(
    ("shown", "trusted", "words"),
    [
        ("here", None, "not trusted: self-signed certificate"),
        ("here", "elsewhere", "not trusted: self-signed certificate"),
        ("elsewhere", "elsewhere", "not trusted: Hostname mismatch"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_told_and_gets_no_token(certificates, shown, trusted, words):
    tls = None if trusted is None else client_side(certificates / f"{trusted}.pem")
    with secured(certificates, shown) as (port, heard):
        with pytest.raises(UnreachableError, match=words):
            fetch(port, certificates, tls)
        with pytest.raises(UnreachableError, match=words):
            DicomDestination("ARCHIVE", "localhost", port, tls=tls or client_side(), seconds=2).echo()
    assert heard == []


def test_the_systems_certificates_are_trusted(certificates, monkeypatch):
    """Not those of a package that no administrator looks after."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "here.pem"))
    with secured(certificates, "here") as (port, heard), pytest.raises(InputError, match="no such study"):
        fetch(port, certificates, None)
    assert b"Bearer secret" in heard[0]


def test_a_certificate_of_ours_is_shown_and_asked_for(certificates):
    trusted = certificates / "here.pem"
    with secured(certificates, "here", authority=trusted) as (port, heard):
        with pytest.raises(UnreachableError, match="certificate required"):
            fetch(port, certificates, client_side(trusted))
        with pytest.raises(UnreachableError, match="certificate required"):
            DicomDestination("ARCHIVE", "localhost", port, tls=client_side(trusted), seconds=2).echo()
        assert heard == []
        with pytest.raises(InputError, match="no such study"):
            fetch(port, certificates, client_side(trusted, trusted, certificates / "here.key"))


def test_a_service_without_tls_is_told(certificates):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            client.recv(1000)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UnreachableError, match="no TLS comes about: "):
            fetch(server.getsockname()[1], certificates, client_side(certificates / "here.pem"))


def test_tls_that_was_asked_for_is_not_left_out():
    with pytest.raises(SettingsError, match="in the clear"):
        DicomWeb("http://127.0.0.1/x", tls=client_side())


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://pacs.example.org", True), ("http://127.0.0.1", False), ("https://pacs.example.org", False)],
)
def test_secrets_in_the_clear(url, told):
    assert DicomWeb(url, token="secret").tells_secrets is told
    assert DicomWeb(url, user=("name", "password")).tells_secrets is told
    assert not DicomWeb(url).tells_secrets


def test_files_that_cannot_be_used_are_named(certificates, capfd):
    here, key, none = certificates / "here.pem", certificates / "here.key", certificates / "none.pem"
    locked = certificates / "locked.key"
    command = [program("openssl", "openssl"), "ec", "-in", str(key), "-aes128", "-passout", "pass:word"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True, timeout=60)
    capfd.readouterr()
    for wrong, arguments in {
        none: (none, key, None),
        here: (here, certificates / "elsewhere.key", None),
        certificates / "elsewhere.pem": (certificates / "elsewhere.pem", locked, None),
        key: (here, key, key),
    }.items():
        with pytest.raises(SettingsError) as caught:
            server_side(*arguments)
        assert caught.value.where == str(wrong)
    with pytest.raises(SettingsError, match="No such file") as caught:
        client_side(none)
    assert caught.value.where == str(none)
    with pytest.raises(SettingsError, match="without its certificate"):
        client_side(key=key)
    assert capfd.readouterr() == ("", ""), "OpenSSL would ask for the password on the terminal"
