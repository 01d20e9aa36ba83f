"""DICOMweb (PS3.18): a study fetched by WADO-RS, documents sent by STOW-RS."""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from osteon.clinical.address import LOOPBACK
from osteon.clinical.durable import write_durably
from osteon.clinical.identity import is_uid
from osteon.clinical.multipart import Multipart, boundary_of, parts
from osteon.clinical.routing import examine
from osteon.clinical.sender import DUPLICATE, NoAnswerError, UnreachableError, is_out_of_resources
from osteon.clinical.store_answer import failures
from osteon.clinical.tls import client_side, fault
from osteon.data.files import LIMITS, Limits, Refused
from osteon.errors import InputError, SettingsError

log = logging.getLogger(__name__)

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
MOST_INSTANCES = 1000
MOST_ANSWER = 1 << 20
"""Bytes of what a service says of one document."""
_BUSY = (408, 425, 429)
_ELSEWHERE = (301, 302, 303, 307, 308, 404, 405, 410)
"""Of a request to store: there is no such service, as while an archive starts; no document is to blame."""


@dataclass(frozen=True)
class DicomWeb:
    """A DICOMweb service.

    Attributes:
        url: Its root, e.g. ``https://pacs.example.org/dicom-web``.
        token: Shown as a bearer token; None: none.
        user: Name and password for basic authentication; None: none.
        tls: Which certificates to trust, and our own; None: those that the system trusts, and none.
        seconds: How long to wait for an answer, or for more of it.
        longest: How long one document may take in all.
        longest_study: How long the fetching of a study may take in all.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    seconds: float = 60.0
    longest: float = 600.0
    longest_study: float = 1800.0

    def __post_init__(self) -> None:
        try:
            parsed = urlsplit(self.url)
        except ValueError:
            raise SettingsError(f"{self.url!r} is no URL of a DICOMweb service", hint="https://HOST/PATH") from None
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise SettingsError(f"{self.url!r} is no URL of a DICOMweb service", hint="https://HOST/PATH")
        if parsed.username or parsed.password:
            raise SettingsError("a password does not belong in the URL, where logs show it", where=parsed.hostname)
        if self.tls is not None and parsed.scheme == "http":
            raise SettingsError(
                "TLS was asked for, and this is reached in the clear", where=self.url, hint="Give an https:// URL"
            )

    @property
    def name(self) -> str:
        """The service's root."""
        return self.url.rstrip("/")

    @property
    def tells_secrets(self) -> bool:
        """Whether a token or password can be read on the way."""
        parsed = urlsplit(self.url)
        return bool(self.token or self.user) and parsed.scheme == "http" and parsed.hostname not in LOOPBACK

    def fetch_study(self, study_uid: str, folder: str | Path, limits: Limits = LIMITS) -> list[Path]:
        """Fetch all instances of a study (WADO-RS, Retrieve Study), in the transfer syntaxes that they are kept in.

        Args:
            study_uid: Of the study.
            folder: Where to; files are named by the hash of their content.
            limits: Bytes of one instance.

        Returns:
            The files, in the order they came; what came twice counts once.

        Raises:
            InputError: There is no such study, it is not for us, the answer is a part of it or of another one, or is
                not what the standard says.
            SettingsError: The service does not let us in, or the images cannot be written.
            UnreachableError: The service cannot be reached, or takes too long.
        """
        if not is_uid(study_uid):
            raise InputError("is no unique identifier of a study", where=study_uid)
        found: list[Path] = []
        with self._client() as client, self._hurried(client, self.longest_study), _reaching(self.name):
            request = client.stream("GET", f"{self.name}/studies/{study_uid}", headers={"Accept": ACCEPT})
            with request as response:
                _check(response, study_uid)
                for data in parts(response.iter_bytes(), boundary_of(_kind(response)), limits.bytes):
                    path = _keep(data, Path(folder))
                    if path in found:
                        continue
                    _check_study(path, study_uid)
                    found.append(path)
                    if len(found) > MOST_INSTANCES:
                        raise InputError(f"the study has more than {MOST_INSTANCES} instances", where=study_uid)
        return found

    def deliver(self, paths: Sequence[Path]) -> Iterator[bool]:
        """Send documents (STOW-RS, Store Instances), one request each; see ``sender.Destination``.

        Raises:
            UnreachableError: The service is not there, is busy, or does not let us in.
        """
        with self._client() as client:
            for path in paths:
                yield self._store(client, path)

    def _store(self, client: httpx.Client, path: Path) -> bool:
        response, content = self._post(client, Multipart([path]))
        code = response.status_code
        if code >= 500 or code in _BUSY:
            raise NoAnswerError(f"{self.name} is busy or broken (status {code})")
        if code in (401, 403):
            raise UnreachableError(f"{self.name} does not let us in (status {code})")
        if code in _ELSEWHERE:
            raise UnreachableError(f"there is no DICOMweb service at {self.name} (status {code})")
        reasons = failures(content)
        if reasons is None and content.strip() and code in (200, 202):
            kind = _kind(response) or "something"
            raise NoAnswerError(f"{self.name} answers with {kind!r} that does not say what became of a document")
        return self._is_taken(code, reasons or [])

    def _is_taken(self, code: int, reasons: list[object]) -> bool:
        """Whether a document was taken; the log tells if not."""
        if any(isinstance(reason, int) and is_out_of_resources(reason) for reason in reasons):
            raise NoAnswerError(f"{self.name} is out of resources")
        if reasons and all(reason == DUPLICATE for reason in reasons):
            return True
        if code not in (200, 202) or reasons:
            words = [f"reason {reason:#06x}" if isinstance(reason, int) else "reason unknown" for reason in reasons]
            log.error("%s rejected a document: %s", self.name, ", ".join([f"status {code}", *words]))
            return False
        return True

    def _post(self, client: httpx.Client, body: Multipart) -> tuple[httpx.Response, bytes]:
        """Send a body; return the answer and what it says, of which there may be so much."""
        headers = {"Content-Type": body.content_type, "Content-Length": str(body.length), "Accept": JSON}
        content = bytearray()
        with (
            self._hurried(client, self.longest),
            _reaching(self.name),
            client.stream("POST", f"{self.name}/studies", content=iter(body), headers=headers) as response,
        ):
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MOST_ANSWER:
                    raise NoAnswerError(f"{self.name} answers at more length than a document can be worth")
        return response, bytes(content)

    @contextmanager
    def _hurried(self, client: httpx.Client, seconds: float) -> Iterator[None]:
        """End a request that takes too long in all: a service that drips would hold up the others for ever."""
        late = threading.Event()

        def end() -> None:
            late.set()
            client.close()

        clock = threading.Timer(seconds, end)
        clock.daemon = True
        clock.start()
        try:
            yield
        except (OSError, RuntimeError, NoAnswerError):  # what reading from a closed connection ends in
            if not late.is_set():
                raise
            raise NoAnswerError(f"{self.name} took longer than {seconds:g} s") from None
        finally:
            clock.cancel()

    def _client(self) -> httpx.Client:
        headers = {"Accept-Encoding": "identity"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return httpx.Client(
            headers=headers,
            auth=self.user,
            verify=client_side() if self.tls is None else self.tls,
            event_hooks={"response": [_refuse_nested]},
            timeout=self.seconds,
            follow_redirects=False,
            trust_env=False,
        )


class _reaching:  # noqa: N801 - used as a context manager, in the manner of contextlib
    """Turns what goes wrong on the way into :class:`UnreachableError`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, UnicodeError):  # as it is looked up
            raise UnreachableError(f"{self._name} cannot be reached: there can be no such name") from None
        if isinstance(error, httpx.HTTPError):
            if insecure := fault(error):
                raise UnreachableError(f"{self._name} cannot be reached: {insecure}") from None
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise UnreachableError(f"{self._name} cannot be reached") from None
            raise NoAnswerError(f"{self._name} {_words(error)}") from None


def _words(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "gave no answer in time"
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError):
        return "broke off its answer, or gives none that is HTTP"
    return "hung up"


def _refuse_nested(response: httpx.Response) -> None:
    """Refuse what is compressed more than once: a few kilobytes of it may be terabytes."""
    if "," in response.headers.get("content-encoding", ""):
        raise NoAnswerError("the service's answer is compressed more than once")


def _check(response: httpx.Response, study_uid: str) -> None:
    code = response.status_code
    if code in (404, 410):
        raise InputError("the service has no such study", where=study_uid)
    if code == 401:
        raise SettingsError(f"the service does not let us in (status {code})", hint="Check the token or the password")
    if code == 403:
        raise InputError("the service does not give us this study (status 403)", where=study_uid)
    if code >= 500 or code in _BUSY:
        raise UnreachableError(f"the service is busy or broken (status {code})")
    if code == 206:
        raise InputError("the service gives only a part of the study (status 206)", where=study_uid)
    if code != 200:
        raise InputError(f"the service answers with status {code}", where=study_uid)


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", ""))


def _keep(data: bytes, folder: Path) -> Path:
    path = folder / f"{hashlib.sha256(data).hexdigest()}.dcm"
    try:
        write_durably(path, data)
    except OSError as error:
        raise SettingsError(
            f"an image cannot be written: {error.strerror}", where=folder, hint="Make room, or set TMPDIR"
        ) from None
    return path


def _check_study(path: Path, study_uid: str) -> None:
    """Refuse an image of another study; what cannot be read is for its reader to refuse."""
    try:
        received = examine(path)
    except Refused:
        return
    if received.study_uid != study_uid:
        raise InputError("the service gives images of another study", where=study_uid)
