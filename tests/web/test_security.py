"""Tokens, headers, foreign pages, and what never reaches log or disk."""

from __future__ import annotations

import logging
import mimetypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from makers.dicom import dicom_bytes
from makers.web_service import png, running, upload
from osteon.errors import SettingsError
from osteon.inference.predictor import Predictor
from osteon.web import reading
from osteon.web.problems import Problem
from osteon.web.security import Doorkeeper, host_name, is_loopback
from osteon.web.serving import Place

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong-horse-battery", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"]
)
def test_without_the_token_nothing_is_answered(client_of: Callable[..., TestClient], header: str | None) -> None:
    client = client_of(token=TOKEN)
    headers = {} if header is None else {"Authorization": header}
    for response in (
        client.post("/v1/predict", files=upload(png()), headers=headers),
        client.post("/v1/report", files=upload(png()), headers=headers),
        client.post("/v1/documents", files=upload(png()), headers=headers),
        client.get("/v1/model", headers=headers),
        client.get("/metrics", headers=headers),
    ):
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in response.text
    assert client.get("/health", headers=headers).status_code == 200


def test_the_description_names_the_token_where_one_is_wanted(client_of: Callable[..., TestClient]) -> None:
    paths = client_of(token=TOKEN).get("/openapi.json").json()["paths"]
    assert paths["/v1/predict"]["post"]["security"] == paths["/v1/model"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in paths["/health"]["get"]


def test_with_the_token_it_is_answered(client_of: Callable[..., TestClient]) -> None:
    client = client_of(token=TOKEN)
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert client.post("/v1/predict", files=upload(png()), headers=headers).status_code == 200
    assert client.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("token", ["short", "", "a" * 15, "with blank in the token", "übermäßig-langes-token"])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="the token ") as caught:
        Doorkeeper(token)
    assert caught.value.where == "token"
    assert Doorkeeper("a" * 16).wants_token
    assert not Doorkeeper(None).wants_token


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/v1/model", "/health", "/nowhere", "/openapi.json"])
def test_every_answer_bears_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "server" not in headers


def test_the_page_loads_nothing_from_elsewhere_and_holds_no_inline_script(client: TestClient) -> None:
    html = client.get("/").text
    assert "http://" not in html
    assert "https://" not in html
    assert '<script type="module" src=' in html
    assert "style=" not in html
    assert " on" + "click" not in html
    for name in ("main.js", "client.js", "viewer.js", "picture.js", "answers.js", "page.css"):
        response = client.get(f"/static/{name}")
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert "https://" not in response.text
        assert "innerHTML" not in response.text


@pytest.mark.parametrize(
    ("name", "kind"),
    [("main.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_a_machine_that_takes_files_for_others_serves_them_as_what_they_are(
    client_of: Callable[..., TestClient], name: str, kind: str
) -> None:
    """As where a program has changed Windows' registry; the browser is told to believe what it is told."""
    mimetypes.add_type("text/plain", f".{name.partition('.')[2]}")
    assert client_of().get(f"/static/{name}").headers["Content-Type"].partition(";")[0] == kind


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://["}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_pages_of_other_sites_are_turned_away(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/v1/predict", files=upload(png()), headers=headers)
    assert (response.status_code, response.json()["error"]) == (403, "foreign_page")
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/predict", files=upload(png()), headers=own).status_code == 200


def test_other_names_of_this_machine_are_turned_away() -> None:
    door = Doorkeeper(None, Place(host="127.0.0.1").names)
    door.check_host("localhost:8000")
    door.check_host("[::1]:8000")
    with pytest.raises(Exception, match="does not answer"):
        door.check_host("evil.example:8000")
    assert host_name("[broken") == ""


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
                                           ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("clinic", False),
                                           ("", False)])  # fmt: skip
def test_only_the_loopback_needs_no_token(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    if own:
        Place(host).check()
    else:
        with pytest.raises(SettingsError, match="token"):
            Place(host).check()
        Place(host, token=TOKEN).check()
    with pytest.raises(SettingsError, match="token"):
        Place("127.0.0.1", hosts=("clinic.example",)).check()


@pytest.mark.parametrize(
    "name",
    ["https://clinic.example", "clinic.example:8443", "clinic.example/osteon", "", "*.example", "a.example,b.example",
     " clinic.example", "röntgen.example", "[fe80::7]"],
)  # fmt: skip
def test_what_no_host_header_can_hold_is_refused_as_a_name(name: str) -> None:
    with pytest.raises(SettingsError, match="no host name"):
        Place(token=TOKEN, hosts=(name,)).check()


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("clinic.example", "clinic.example:8000"),
        ("Clinic.example", "clinic.EXAMPLE"),
        ("xn--rntgen-wxa.example", "xn--rntgen-wxa.example"),
        ("x-ray_1", "x-ray_1:8000"),
        ("10.0.0.7", "10.0.0.7:8000"),
        ("fe80::7", "[fe80::7]:8000"),
        ("FE80:0:0::7", "[fe80::7]"),
        ("fe80::7", "[FE80:0:0::7]:8000"),
    ],
)
def test_requests_to_an_allowed_name_are_let_in_and_no_others(name: str, header: str) -> None:
    place = Place(token=TOKEN, hosts=(name,))
    place.check()
    door = Doorkeeper(TOKEN, place.names)
    door.check_host(header)
    for foreign in ("evil.example", f"evil.{name}", ""):
        with pytest.raises(Problem, match="does not answer") as caught:
            door.check_host(foreign)
        assert (caught.value.status, caught.value.error) == (403, "foreign_host")
    Doorkeeper(TOKEN, Place(token=TOKEN).names).check_host("evil.example")  # without names, to all


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="certificate"):
        Place(key=tmp_path / "key.pem").check()


@pytest.mark.parametrize("path", ["/v1/predict/", "/v1/model/", "/static"])
def test_no_answer_sends_a_client_to_another_address(client: TestClient, path: str) -> None:
    """Behind a proxy that ends TLS it would be one of plain HTTP."""
    for response in (client.get(path, follow_redirects=False), client.post(path, follow_redirects=False)):
        assert response.status_code in (404, 405)
        assert "location" not in response.headers


def test_a_fault_is_told_without_what_was_in_the_file(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(reading, "decode", fail)
    with caplog.at_level(logging.INFO):
        response = client.post("/v1/predict", files=upload(png()))
    assert (response.status_code, response.json()["error"]) == (500, "fault")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "RuntimeError" in caplog.text
    assert response.json()["request_id"] in caplog.text
    assert "Doe" not in caplog.text + response.text


def test_uploads_never_reach_the_disk(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", _forbidden)
    large = png() + bytes(5_000_000)
    with running(predictor) as url:
        response = httpx.post(f"{url}v1/predict", files=upload(large, large), timeout=30)
    assert response.status_code == 200
    assert response.json()["studies"][0]["probability"] is not None
    assert list(tmp_path.iterdir()) == []


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a temporary file was made")


def test_the_log_holds_neither_names_nor_file_names(model: Path, tmp_path: Path) -> None:
    """A patient's name and number, a file's name and a query are sent; none comes out of a process that tells all."""
    code = (
        "import sys; from osteon.inference.predictor import Predictor; from osteon.web.serving import Place, serve\n"
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "serve(Predictor(sys.argv[1], gate=False), Place(port=0), ready=lambda url: print(url, flush=True))"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        odd = dicom_bytes(PatientName="Doe^Jane", PatientID="P-4711", StudyDate="not a date: Doe^Jane")
        with httpx.Client(base_url=url, timeout=30) as client:
            response = client.post("/v1/predict?patient=P-4711", files=upload(odd, odd[:2000], b"Doe^Jane"))
            client.get("/P-4711")
        assert response.status_code == 200
        assert not {"Doe", "4711", "secret"} & set(response.text.replace('"', " ").split())
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert response.headers["X-Request-ID"] in log
    assert not [word for word in ("Doe", "P-4711", "secret", "127.0.0.1") if word in log], log
    assert list(tmp_path.iterdir()) == []


def test_beyond_its_capacity_the_service_says_so_and_recovers(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = reading.decode

    def slow(*arguments: object) -> object:
        go_on.wait(20)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "decode", slow)
    with running(predictor, workers=1, waiting=1) as url, httpx.Client(base_url=url, timeout=30) as client:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(httpx.post(f"{url}v1/predict", files=upload(png()), timeout=30).status_code)

        askers = [threading.Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        until = time.monotonic() + 10
        while client.get("/ready").status_code != 503 and time.monotonic() < until:
            time.sleep(0.01)
        turned_away = client.post("/v1/predict", files=upload(png() + bytes(3_000_000)))
        assert turned_away.status_code == 503
        assert int(turned_away.headers["Retry-After"]) >= 1
        assert client.get("/health").status_code == 200
        go_on.set()
        for asker in askers:
            asker.join(20)
        assert statuses == [200, 200]
        assert client.get("/ready").status_code == 200


def test_nothing_more_is_read_for_a_client_that_has_hung_up(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen, go_on = reading.decode, [], threading.Event()

    def slow(number: int, *arguments: object) -> object:
        seen.append(number)
        go_on.wait(20)
        return real(number, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "decode", slow)
    with running(predictor, waiting=0) as url, httpx.Client(base_url=url, timeout=30) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}v1/predict", files=upload(png(), png(), png()), timeout=0.5)
        until = time.monotonic() + 10
        while 'status="503"' not in client.get("/metrics").text and time.monotonic() < until:
            time.sleep(0.02)  # until the hang-up has been noticed
        go_on.set()
        while client.get("/ready").status_code != 200 and time.monotonic() < until:
            time.sleep(0.02)
        assert seen == [1]
        assert client.post("/v1/predict", files=upload(png())).status_code == 200


def test_a_client_that_takes_no_answer_holds_a_place_and_not_for_ever(
    predictor: Predictor, rng: np.random.Generator
) -> None:
    """Answers that nobody takes would else pile up in memory, beyond what the places allow."""
    large = png(rng.integers(0, 255, (2500, 2500), dtype=np.uint8))
    fields = {"pictures": "true", "heat_map": "false"}
    with running(predictor, waiting=0, upload_seconds=1.5) as url, httpx.Client(base_url=url, timeout=30) as client:
        with client.stream("POST", "v1/predict", files=upload(large), data=fields) as response:
            assert response.status_code == 200
            assert client.get("/health").json()["taken"] == 1
            until = time.monotonic() + 10
            while client.get("/health").json()["taken"] and time.monotonic() < until:
                time.sleep(0.05)
            assert client.get("/ready").status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                response.read()
        whole = client.post("v1/predict", files=upload(large), data=fields).json()
        assert whole["studies"][0]["views"][0]["picture"].startswith("data:image/png")


def test_slow_work_and_slow_uploads_are_given_up(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(reading, "decode", lambda *_: go_on.wait(20))

    def crawl() -> object:
        yield b"--a\r\n"
        time.sleep(1.5)
        yield b"x"

    with running(predictor, seconds=0.3, upload_seconds=0.5) as url, httpx.Client(base_url=url, timeout=30) as client:
        late = client.post("/v1/predict", files=upload(png()))
        assert (late.status_code, late.json()["error"]) == (504, "timeout")
        headers = {"Content-Type": "multipart/form-data; boundary=a"}
        slow = client.post("/v1/predict", content=crawl(), headers=headers)
        assert (slow.status_code, slow.json()["error"]) == (408, "slow_upload")
        go_on.set()
