"""Where the service listens, and that over TLS it is heard by nobody else."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from makers.pacs import program
from osteon.errors import SettingsError
from osteon.inference.predictor import Predictor
from osteon.web import serving
from osteon.web.app import make_app
from osteon.web.limits import ServiceLimits
from osteon.web.serving import Place, make_server

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a certificate with its key, both in one file, another key, and the key under a passphrase."""
    folder = tmp_path_factory.mktemp("tls")
    names = ("certificate", "key", "other", "both", "locked")
    found = {name: folder / f"{name}.pem" for name in names}
    openssl = program("openssl", "openssl")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made = [openssl, "req", "-x509", *curve, "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    for command in (
        [*made, "-keyout", found["key"], "-out", found["certificate"]],
        [*made, "-keyout", found["other"], "-out", folder / "unused.pem"],
        [openssl, "ec", "-in", found["key"], "-aes256", "-passout", "pass:secret", "-out", found["locked"]],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    found["both"].write_text(found["key"].read_text() + found["certificate"].read_text())
    return found


def test_over_tls_it_answers_and_in_the_clear_it_does_not(predictor: Predictor, files: dict[str, Path]) -> None:
    place = Place(port=0, certificate=files["certificate"], key=files["key"])
    place.check()
    with place.listen() as listener:
        limits = ServiceLimits(workers=1)
        server = make_server(make_app(predictor, limits=limits), place, limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = place.url(listener)
        assert url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(files["certificate"]))
        assert httpx.get(f"{url}health", verify=trusted).json()["status"] == "ok"
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{url.replace('https', 'http')}health")
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("certificate", "key", "fine"),
    [
        ("certificate", "key", True),
        ("both", None, True),
        ("certificate", None, False),
        ("certificate", "other", False),
        ("certificate", "locked", False),
        ("certificate", "missing", False),
        ("key", "key", False),
    ],
)
def test_a_certificate_is_tried_before_anything_is_served(
    files: dict[str, Path], certificate: str, key: str | None, fine: bool
) -> None:
    """A passphrase is never asked for: nobody may be there to give it."""
    place = Place(certificate=files[certificate], key=None if key is None else files.get(key, Path("missing.pem")))
    if fine:
        place.check()
    else:
        with pytest.raises(SettingsError, match="cannot be used") as caught:
            place.check()
        assert caught.value.where == str(files[certificate])


@pytest.mark.parametrize(
    ("host", "certificate", "open_to_read"),
    [("127.0.0.1", None, False), ("clinic", None, True), ("clinic", Path("chain.pem"), False)],
)
def test_what_can_be_read_on_the_way_is_known(host: str, certificate: Path | None, open_to_read: bool) -> None:
    assert Place(host, token=TOKEN, certificate=certificate).in_the_clear is open_to_read


@pytest.mark.parametrize(
    ("host", "words"), [("192.0.2.1", "cannot listen there: "), ("ä" * 80, "no address of this machine: ")]
)
def test_what_is_no_address_of_this_machine_is_told(host: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        Place(host, 0, TOKEN).listen()
    assert str(caught.value.where).startswith(host)


def test_an_address_is_written_as_browsers_take_it() -> None:
    listener: Any = SimpleNamespace(getsockname=lambda: ("::1", 8123, 0, 0))
    assert Place("::1").url(listener) == "http://[::1]:8123/"
    assert Place("localhost", certificate=Path("chain.pem")).url(listener) == "https://localhost:8123/"


def test_without_a_token_it_answers_to_its_own_names_only() -> None:
    assert set(Place("127.8.9.1").names) == {"localhost", "127.0.0.1", "::1", "127.8.9.1"}
    assert Place("clinic", token=TOKEN).names == (), "a token stands before everything"
    assert {"clinic", "reading.example"} < set(Place("clinic", token=TOKEN, hosts=("reading.example",)).names)


def test_a_service_that_is_started_again_gets_its_port_at_once() -> None:
    with Place(port=0).listen() as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # the end that closes first keeps the address for a minute
    with Place(port=port).listen() as again:
        assert again.getsockname()[1] == port


def test_it_is_checked_made_quiet_and_told_before_it_serves(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, quiet, urls = Mock(), Mock(), []
    monkeypatch.setattr(serving, "make_server", made)
    monkeypatch.setattr(serving, "keep_quiet", quiet)
    with pytest.raises(SettingsError, match="a token is needed"):
        serving.serve(predictor, Place("0.0.0.0", port=0), ready=urls.append)
    assert urls == []
    assert not made.called
    serving.serve(predictor, Place(port=0), ready=urls.append)
    assert urls[0].startswith("http://127.0.0.1:")
    assert "python_multipart" in quiet.call_args.args[0]
    assert made.call_args.args[2] == ServiceLimits()
    assert len(made.return_value.run.call_args.kwargs["sockets"]) == 1
