"""Downloads of public data sets: resumed after a cut, checked by checksum, unpacked safely, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import httpx

from osteon.errors import InputError, SettingsError
from osteon.progress import track
from osteon.run import temporary_prefix, unwritable

log = logging.getLogger(__name__)

FIGSHARE = "https://api.figshare.com/v2"
FRACATLAS_ARTICLE = 22363012
MEBIBYTE = 1024 * 1024
MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_MEMBERS = 200_000

MURA_INSTRUCTIONS = """\
MURA cannot be fetched for you: Stanford gives it only to those who accept its research-use agreement themselves,
and it may not be passed on.

1. Open https://stanfordmlgroup.github.io/competitions/mura/ , read and accept the Research Use Agreement
   (no commercial use, no passing on, no attempt to identify patients).
2. Download MURA-v1.1.zip (about 3 GB) from the link that is sent to you.
3. Unpack it anywhere, for instance to {folder}/MURA-v1.1, so that these lie in it:
       train/XR_HUMERUS/patient.../study1_positive/image1.png
       train_image_paths.csv  train_labeled_studies.csv  valid_image_paths.csv  valid_labeled_studies.csv
4. Check it:
       osteon data audit {folder}/MURA-v1.1
"""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that figshare offers.

    Attributes:
        name: Its name, without folders.
        size: In bytes.
        md5: Checksum in lower-case hexadecimal.
        url: Where it is downloaded from.
    """

    name: str
    size: int
    md5: str
    url: str


def mura_instructions(folder: Path) -> str:
    """Return how to get MURA and where to put it; its licence forbids fetching it for the user."""
    return MURA_INSTRUCTIONS.format(folder=folder)


def fetch_fracatlas(
    folder: Path, *, api: str = FIGSHARE, keep_archive: bool = False, retries: int = 5, pause: float = 1.0
) -> Path:
    """Download FracAtlas (CC BY 4.0, about 340 MB) and unpack it to ``folder/FracAtlas``.

    A download that was cut goes on where it stopped, in the same call (``retries`` times, with ``pause`` seconds
    doubled each time between them) or in the next.

    Args:
        folder: Where the data set goes; made if absent.
        api: Address of figshare's API, or of a mirror in the same form.
        keep_archive: Keep the ZIP file.
        retries: How often a cut connection is taken up again.
        pause: Seconds before the first retry.

    Returns:
        The folder with ``dataset.csv``.

    Raises:
        SettingsError: No network, a server that refuses, or no room or right to write.
        InputError: The download does not have the promised checksum, or is not a sound archive.
    """
    target = folder / "FracAtlas"
    if target.exists():
        if (target / "dataset.csv").is_file():
            return target
        raise SettingsError("exists, but is not FracAtlas", where=target, hint="Move it away, or choose another --to")
    try:
        with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0)) as client:
            remote = _archive(_figshare_files(client, api, FRACATLAS_ARTICLE))
            folder.mkdir(parents=True, exist_ok=True)
            archive = download(client, remote, folder, retries=retries, pause=pause)
        unpack(archive, target, needs="dataset.csv")
        if not keep_archive:
            archive.unlink()
    except OSError as error:
        raise unwritable(error, folder) from error
    return target


def _figshare_files(client: httpx.Client, api: str, article: int) -> list[RemoteFile]:
    url = f"{api.rstrip('/')}/articles/{article}/files"
    try:
        answer = client.get(url)
        answer.raise_for_status()
        return [_remote_file(item) for item in answer.json()]
    except httpx.HTTPStatusError as error:
        raise _server_refused(error.response, url) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _no_network(error, url) from None
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"figshare's answer is not understood: {error!r}", where=url) from None


def _remote_file(item: dict[str, Any]) -> RemoteFile:
    name = PurePosixPath(str(item["name"]).replace("\\", "/")).name
    md5 = str(item.get("computed_md5") or item["supplied_md5"]).lower()
    return RemoteFile(name, int(item["size"]), md5, str(item["download_url"]))


def _archive(files: list[RemoteFile]) -> RemoteFile:
    archives = [item for item in files if item.name.lower().endswith(".zip")]
    if not archives:
        names = ", ".join(item.name for item in files) or "nothing"
        raise SettingsError(f"figshare offers no ZIP file any more, but {names}")
    return max(archives, key=lambda item: item.size)


def _no_network(error: Exception, url: str) -> SettingsError:
    return SettingsError(
        f"cannot be reached: {error or type(error).__name__}",
        where=url,
        hint="Check the network (or HTTPS_PROXY); what was downloaded is kept, run the command again to go on",
    )


def _server_refused(answer: httpx.Response, url: str) -> SettingsError:
    return SettingsError(
        f"the server answered {answer.status_code} {answer.reason_phrase}", where=url, hint="Try again later"
    )


# Download


def download(client: httpx.Client, remote: RemoteFile, folder: Path, *, retries: int = 5, pause: float = 1.0) -> Path:
    """Download a file to ``folder``, going on from its ``.part`` where there is one.

    Raises:
        SettingsError: The server cannot be reached or refuses.
        InputError: The bytes do not have the promised checksum; they are thrown away.
    """
    target = folder / remote.name
    if target.is_file() and _md5(target) == remote.md5:
        return target
    part = folder / f"{remote.name}.part"
    for attempt in range(retries + 1):
        try:
            _receive(client, remote, part)
            break
        except httpx.HTTPStatusError as error:
            raise _server_refused(error.response, remote.url) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if attempt == retries:
                raise _no_network(error, remote.url) from None
            log.info("the connection was cut (%s); going on", error)
            time.sleep(pause * 2**attempt)
    if part.stat().st_size != remote.size or _md5(part) != remote.md5:
        part.unlink()
        raise InputError("the download does not have the promised checksum", where=target, hint="Run it again")
    return part.replace(target)


def _receive(client: httpx.Client, remote: RemoteFile, part: Path) -> None:
    """Append what is missing of a file, or start anew where the server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    if have == remote.size:
        return
    if have > remote.size:
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", remote.url, headers=headers) as answer:
        answer.raise_for_status()
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT and _starts_at(answer, have)
        have = have if goes_on else 0
        with part.open("ab" if goes_on else "wb") as file:
            left = remote.size - have
            received = _received(answer, file, left)
            for _ in track(received, f"Downloading {remote.name} (MiB)", math.ceil(left / MEBIBYTE)):
                pass
    if part.stat().st_size < remote.size:
        raise httpx.RemoteProtocolError("the connection was closed early")


def _starts_at(answer: httpx.Response, start: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _received(answer: httpx.Response, file: BinaryIO, left: int) -> Iterator[None]:
    """Write the body as it comes, so that a cut loses nothing, but no more than promised; yield at each mebibyte."""
    waiting = 0
    for chunk in answer.iter_bytes():
        file.write(chunk[:left])
        left -= len(chunk)
        waiting += len(chunk)
        for _ in range(waiting // MEBIBYTE):
            yield
        waiting %= MEBIBYTE
        if left <= 0:
            return


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# Unpack


def unpack(archive: Path, target: Path, needs: str) -> None:
    """Unpack a ZIP file to a folder that appears whole or not at all.

    If all members lie in one folder, that folder becomes ``target``. Hidden files and macOS companions are left out.

    Args:
        archive: The ZIP file.
        target: The folder to appear.
        needs: A file that must then be in it.

    Raises:
        InputError: Not a sound ZIP file, or one whose members would leave the folder, are links, or are too many or
            too large, or without the file needed.
        SettingsError: There is no room.
    """
    work = Path(tempfile.mkdtemp(prefix=temporary_prefix(target.name), suffix=".part", dir=target.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _checked_members(packed, archive)
            _check_room(sum(member.file_size for member in members), target.parent)
            for member in track(members, "Unpacking"):
                packed.extract(member, work / "unpacked")
        unpacked = _only_folder(work / "unpacked")
        if not (unpacked / needs).is_file():
            raise InputError(f"holds no {needs}", where=archive)
        unpacked.replace(target)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(f"not a sound ZIP file: {error}", where=archive) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _checked_members(packed: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    members = [member for member in packed.infolist() if not member.is_dir()]
    for member in members:
        if not _stays_inside(member):
            raise InputError(f"holds a member that would leave the folder: {member.filename!r}", where=archive)
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
        raise InputError(f"would unpack to {len(members):,} files of {total / 1e9:,.1f} GB", where=archive)
    return [member for member in members if not _is_hidden(member)]


def _stays_inside(member: zipfile.ZipInfo) -> bool:
    name = member.filename
    parts = PurePosixPath(name).parts
    link = stat.S_ISLNK(member.external_attr >> 16)
    return not (link or name.startswith("/") or "\\" in name or ":" in name or ".." in parts)


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(member.filename).parts)


def _check_room(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SettingsError(f"needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free", where=folder)


def _only_folder(folder: Path) -> Path:
    inside = list(folder.iterdir()) if folder.is_dir() else []
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
