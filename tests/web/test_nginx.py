"""The service behind nginx, set up as docs/serve.md says."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from makers.dicom import dicom_bytes, radiograph
from makers.pacs import free_port, program, until
from makers.web_service import png, upload

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
HOST, TOKEN = "reading.example.org", "correct-horse-battery"
UPLOAD = "POST /osteon/v1/predict HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FRAME = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name reading.example.org;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
{locations}
    }}
}}
"""


def documented(port: int) -> str:
    """Return the block of the documentation, with the service's port."""
    found = re.search(r"^    location = /osteon .*?^    }\n(?=\n)", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None, "docs/serve.md shows how to set nginx up"
    assert found.group().count("127.0.0.1:8000") == 1
    return found.group().replace("127.0.0.1:8000", f"127.0.0.1:{port}")


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def certify(folder: Path) -> None:
    command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def service(folder: Path, model: Path) -> Iterator[int]:
    """Run the documented command on a free port, and yield it."""
    (folder / "token").write_text(TOKEN)
    command = [sys.executable, "-m", "osteon", "serve", "--token-file", str(folder / "token"), "--allow-host", HOST]
    command += ["--model", str(model), "--port", "0", "--workers", "1", "--waiting", "0", "--json"]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)) as process:
        assert process.stdout is not None
        told = "".join(iter(process.stdout.readline, "}\n")) + "}"
        yield httpx.URL(json.loads(told)["url"]).port or 0


@contextmanager
def proxy(folder: Path, behind: int) -> Iterator[int]:
    port = free_port()
    (folder / "nginx.conf").write_text(FRAME.format(folder=folder, port=port, locations=documented(behind)))
    command = [program("nginx", "nginx-light"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    command += ["-e", str(folder / "error.log")]
    with ended(subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)) as process:
        until(lambda: answers(port, process), 20)
        yield port


def answers(port: int, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, "nginx ended"
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Site:
    """The service as clients see it, and what nginx complains of."""

    port: int
    tls: ssl.SSLContext
    client: httpx.Client
    log: Path

    def connect(self, headers: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        caller = self.tls.wrap_socket(plain, server_hostname=HOST)
        caller.sendall(f"{headers}Host: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        return caller


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    program("nginx", "nginx-light")
    certify(folder)
    with service(folder, model) as behind, proxy(folder, behind) as port:
        tls = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        about = {"headers": {"Host": HOST}, "timeout": 30}
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=tls_of(tls), **about) as client:
            yield Site(port, tls, client, folder / "error.log")


def tls_of(named: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context for a client that calls the site by its address, where no name server knows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(one) for one in named.get_ca_certs(True)))
    return context


def test_the_page_and_all_it_names_are_there(site: Site) -> None:
    moved = site.client.get("/osteon")
    assert (moved.status_code, httpx.URL(moved.headers["Location"]).path) == (308, "/osteon/")
    page = site.client.get("/osteon/")
    assert "Research use only" in page.text
    named = [name for name in re.findall(r'(?:src|href)="([^"#]+)"', page.text) if ":" not in name]
    assert len(named) > 3
    assert {name: site.client.get(f"/osteon/{name}").status_code for name in named} == dict.fromkeys(named, 200)


def test_headers_arrive_once_and_a_head_request_has_no_body(site: Site) -> None:
    got, headed = (site.client.request(method, "/osteon/") for method in ("GET", "HEAD"))
    for name in (
        "Content-Security-Policy",
        "X-Content-Type-Options",
        "Referrer-Policy",
        "Cache-Control",
        "X-Request-ID",
    ):
        assert [len(answer.headers.get_list(name)) for answer in (got, headed)] == [1, 1], name
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["Content-Length"] == str(len(got.content))


def test_pictures_and_large_dicom_files_are_answered_and_stay_off_the_disk(site: Site) -> None:
    large = dicom_bytes(pixels=radiograph(size=(1200, 1200)))
    assert len(large) > 2_000_000, "more than nginx lets through by itself"
    for content in (png(), large):
        answer = site.client.post("/osteon/v1/predict", files=upload(content), headers=BEARER)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["studies"][0]["views"]) == 1
    form = site.client.build_request("POST", "/osteon/v1/predict", files=upload(large))
    kind = {"Content-Type": form.headers["Content-Type"]}
    pieces = iter([form.read()])  # of no length that is told before
    answer = site.client.post("/osteon/v1/predict", content=pieces, headers=BEARER | kind)
    assert answer.status_code == 200, answer.text
    assert "temporary file" not in site.log.read_text()


def test_the_pages_requests_are_its_own_and_those_of_others_are_not(site: Site) -> None:
    for origin, status in ((f"https://{HOST}", 200), ("https://elsewhere.example.org", 403)):
        headers = BEARER | {"Origin": origin}
        assert site.client.post("/osteon/v1/predict", files=upload(png()), headers=headers).status_code == status
    assert site.client.post("/osteon/v1/predict", files=upload(png())).status_code == 401


def test_what_is_too_large_is_refused_by_the_service_in_its_own_words(site: Site) -> None:
    """It answers before the upload is over, and hangs up: no fault of its own to nginx."""
    with site.connect(UPLOAD + "Content-Length: 200000000\r\n") as caller:
        caller.sendall(bytes(3_000_000))
        said = b""
        while b'{"error":' not in said and (more := caller.recv(100_000)):  # headers and body may come one by one
            said += more
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":' in said


def test_a_client_that_hangs_up_gives_its_place_back(site: Site) -> None:
    caller = site.connect(UPLOAD + "Content-Length: 1000000\r\n")
    caller.sendall(b"--x\r\n")
    until(lambda: site.client.get("/osteon/ready").status_code == 503)
    caller.close()
    until(lambda: site.client.get("/osteon/ready").status_code == 200)
    assert site.client.post("/osteon/v1/predict", files=upload(png()), headers=BEARER).status_code == 200
