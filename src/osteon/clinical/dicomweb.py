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
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from osteon.clinical.durable import write_durably
from osteon.clinical.identity import is_uid
from osteon.clinical.multipart import Multipart, boundary_of, parts
from osteon.clinical.routing import examine
from osteon.clinical.sender import DUPLICATE, NoAnswerError, UnreachableError
from osteon.data.files import LIMITS, Limits, Refused
from osteon.errors import InputError, SettingsError

log = logging.getLogger(__name__)

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
MOST_INSTANCES = 1000
_FAILED, _REASON = "00081198", "00081197"
_UNREACHABLE = (408, 425, 429, 500, 502, 503, 504, 507)
_ELSEWHERE = (301, 302, 303, 307, 308, 404, 405, 410)
"""Of a request to store: there is no such service, as while an archive starts; no document is to blame."""


@dataclass(frozen=True)
class DicomWeb:
    """A DICOMweb service.

    Attributes:
        url: Its root, e.g. ``https://pacs.example.org/dicom-web``.
        token: Shown as a bearer token; None: none.
        user: Name and password for basic authentication; None: none.
        tls: Which certificates to trust; None: the system's.
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

    @property
    def name(self) -> str:
        """The service's root."""
        return self.url.rstrip("/")

    def fetch_study(self, study_uid: str, folder: str | Path, limits: Limits = LIMITS) -> list[Path]:
        """Fetch all instances of a study (WADO-RS, Retrieve Study), in the transfer syntaxes that they are kept in.

        Args:
            study_uid: Of the study.
            folder: Where to; files are named by the hash of their content.
            limits: Bytes of one instance.

        Returns:
            The files, in the order they came.

        Raises:
            InputError: There is no such study, the answer is a part of it or of another one, or is not what the
                standard says.
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
                    found.append(_keep(data, Path(folder)))
                    _check_study(found[-1], study_uid)
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
        body = Multipart([path])
        headers = {"Content-Type": body.content_type, "Accept": JSON}
        with self._hurried(client, self.longest), _reaching(self.name):
            response = client.post(f"{self.name}/studies", content=iter(body), headers=headers)
        if response.status_code in _UNREACHABLE:
            raise NoAnswerError(f"{self.name} is busy or broken (status {response.status_code})")
        if response.status_code in (401, 403):
            raise UnreachableError(f"{self.name} does not let us in (status {response.status_code})")
        if response.status_code in _ELSEWHERE:
            raise UnreachableError(f"there is no DICOMweb service at {self.name} (status {response.status_code})")
        reasons = _reasons(response)
        if reasons and all(reason == DUPLICATE for reason in reasons):
            return True
        if response.status_code not in (200, 202) or reasons:
            words = [f"reason {reason:#06x}" if isinstance(reason, int) else "reason unknown" for reason in reasons]
            log.error("%s rejected a document: %s", self.name, ", ".join([f"status {response.status_code}", *words]))
            return False
        return True

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
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        verify: ssl.SSLContext | bool = True if self.tls is None else self.tls
        return httpx.Client(
            headers=headers,
            auth=self.user,
            verify=verify,
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
        if isinstance(error, httpx.HTTPError):
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise UnreachableError(f"{self._name} cannot be reached") from None
            words = "gave no answer in time" if isinstance(error, httpx.TimeoutException) else "hung up"
            raise NoAnswerError(f"{self._name} {words}") from None


def _check(response: httpx.Response, study_uid: str) -> None:
    code = response.status_code
    if code in (404, 410):
        raise InputError("the service has no such study", where=study_uid)
    if code in (401, 403):
        raise SettingsError(f"the service does not let us in (status {code})", hint="Check the token or the password")
    if code in _UNREACHABLE:
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


def _reasons(response: httpx.Response) -> list[Any]:
    """Return the reasons of the Failed SOP Sequence (PS3.18 10.5.3); none where there is no such sequence."""
    try:
        values: Any = response.json()
        items = (values[0] if isinstance(values, list) else values)[_FAILED]["Value"]
        return [item.get(_REASON, {}).get("Value", [None])[0] for item in items]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return []
