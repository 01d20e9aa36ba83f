"""What the audit knows of each file: digest, size, grey statistics and a small picture; decoded once and cached.

A fingerprint is kept under the file's path, size and times, so a file that changed is read again, also where a copy
kept the time of modification.
Files that were refused are tried anew each time.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.data.catalogue import Catalogue
from osteon.data.histogram import grey_counts
from osteon.data.images import LIMITS, DecodedImage, UnreadableImageError, read_image
from osteon.errors import OsteonError, Refusal
from osteon.machine import available_cores
from osteon.progress import track
from osteon.run import atomic_path, cache_folder

VERSION = 2
SIDE = 64
READ, DAMAGED, REFUSED = 0, 1, 2
BATCH = 1024
BORDER = 0.04
MCU_ROWS = 16

RECORD = np.dtype(
    [
        ("key", "S32"),
        ("status", "u1"),
        ("digest", "S32"),
        ("bytes", "i8"),
        ("width", "i4"),
        ("height", "i4"),
        ("channels", "u1"),
        ("quantisation", "f4"),
        ("mean", "f4"),
        ("sd", "f4"),
        ("border", "f4"),
        ("commonest", "f4"),
        ("readable", "f4"),
        ("thumbnail", "u1", (SIDE, SIDE)),
    ]
)

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of a catalogue's images, in its order.

    Attributes:
        records: Structured array of :data:`RECORD`, shape ``(n,)``. ``status`` is :data:`READ`, :data:`DAMAGED` or
            :data:`REFUSED`; of refused files all else is zero. ``digest`` is of the file's bytes. ``quantisation``
            is the mean of a JPEG's luminance table (0: not a JPEG). ``mean``, ``sd`` and ``border`` (mean of the
            outer 4 %) are grey values in 0-255; ``commonest`` is the share of pixels with the commonest grey value;
            ``readable`` the share of rows above the cut of a damaged file (else 1). ``thumbnail`` is the whole
            picture squeezed to 64 x 64 by area averaging.
        refusals: Why files were refused, by row.
    """

    records: NDArray[Any]
    refusals: dict[int, Refusal]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images could be read, at least in part; shape ``(n,)``."""
        return np.asarray(self.records["status"] != REFUSED)

    @property
    def damaged(self) -> NDArray[np.bool_]:
        """Which images could be read in part only; shape ``(n,)``."""
        return np.asarray(self.records["status"] == DAMAGED)


def fingerprint_catalogue(catalogue: Catalogue, *, workers: int | None = None, cached: bool = True) -> Fingerprints:
    """Fingerprint every image of a catalogue, from the cache where its file is unchanged.

    Args:
        catalogue: Whose images.
        workers: Number of threads (Pillow and NumPy work in parallel); None: one a core.
        cached: Whether to read and write the cache.
    """
    paths = [Path(path) for path in catalogue.images["path"]]
    records = np.zeros(len(paths), dtype=RECORD)
    records["status"] = REFUSED
    records["key"] = [_key(path) for path in paths]
    folder = _cache(catalogue.root)
    if cached:
        _recall(folder, records)
    todo = [row for row in range(len(paths)) if records["status"][row] == REFUSED]
    refusals: dict[int, Refusal] = {}
    for batch in _batches(track(_computed(paths, todo, workers), "Reading images", len(todo)), BATCH):
        for row, outcome in batch:
            if isinstance(outcome, Refusal):
                refusals[row] = outcome
            else:
                outcome["key"] = records["key"][row]
                records[row] = outcome
        if cached:
            _remember(folder, records[[row for row, outcome in batch if not isinstance(outcome, Refusal)]])
    return Fingerprints(records, refusals)


def fingerprint_file(path: Path) -> NDArray[Any] | Refusal:
    """Return one file's fingerprint as a zero-dimensional array of :data:`RECORD`, or why it has none."""
    try:
        data = _bytes(path)
        image = read_image(path if data is None else data)
    except UnreadableImageError as error:
        return Refusal(str(path), error.refusal.reason, error.refusal.detail)
    return _record(path.read_bytes() if data is None else data, image)


def _bytes(path: Path) -> bytes | None:
    """Return a file's content; None where it is left to the decoder to say what is wrong with the file."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= LIMITS.bytes else None
    except (OSError, ValueError):
        return None


def _record(data: bytes, image: DecodedImage) -> NDArray[Any]:
    pixels = image.eight_bit()
    record = np.zeros((), dtype=RECORD)
    record["status"] = DAMAGED if image.damaged else READ
    record["digest"] = hashlib.blake2b(data, digest_size=16).hexdigest().encode()
    record["bytes"] = len(data)
    record["height"], record["width"] = pixels.shape
    record["channels"], record["quantisation"] = _header(data)
    counts = grey_counts(pixels)
    mean = float(counts @ np.arange(256)) / pixels.size
    record["mean"], record["sd"] = mean, np.sqrt(float(counts @ (np.arange(256) - mean) ** 2) / pixels.size)
    record["border"] = _border_mean(pixels)
    record["commonest"] = counts.max() / pixels.size
    record["readable"] = _readable_rows(pixels) if image.damaged else 1.0
    record["thumbnail"] = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    return record


def _header(data: bytes) -> tuple[int, float]:
    """Return the number of channels and the mean of the luminance quantisation table (0: not a JPEG)."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            tables = getattr(picture, "quantization", None)
            return len(picture.getbands()), float(np.mean(tables[0])) if tables else 0.0
    except Exception:  # a header too broken for Pillow alone; the decoder has mended it
        return 0, 0.0


def _border_mean(pixels: NDArray[np.uint8]) -> float:
    rows, columns = (max(1, round(BORDER * side)) for side in pixels.shape)
    inner = pixels[rows:-rows, columns:-columns]
    count = pixels.size - inner.size
    return (float(pixels.sum(dtype=np.int64)) - float(inner.sum(dtype=np.int64))) / count


def _readable_rows(pixels: NDArray[np.uint8]) -> float:
    """Return the share of rows above the flat area that ends a truncated picture."""
    flat = (pixels == pixels[-1, 0]).all(axis=1)
    cut = len(flat) - int(np.argmin(flat[::-1])) if not flat.all() else 0
    return 1.0 if cut == len(flat) else max(0, cut - MCU_ROWS) / len(flat)


def _computed(
    paths: Sequence[Path], rows: Sequence[int], workers: int | None
) -> Iterator[tuple[int, NDArray[Any] | Refusal]]:
    workers = workers or available_cores()
    with ThreadPoolExecutor(workers) as pool:
        for batch in _batches(rows, 32 * workers):
            yield from zip(batch, pool.map(fingerprint_file, [paths[row] for row in batch]), strict=True)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _key(path: Path) -> bytes:
    try:
        about = path.stat()
    except (OSError, ValueError):
        return b""
    text = f"{path.absolute()}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\0{VERSION}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest().encode()


def _cache(root: Path) -> Path:
    name = hashlib.blake2b(str(root.absolute()).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return cache_folder() / "fingerprints" / f"v{VERSION}" / name


def _recall(folder: Path, records: NDArray[Any]) -> None:
    """Fill in the records that the cache holds; its files that cannot be read are passed over."""
    rows = {key: row for row, key in enumerate(records["key"].tolist()) if key}
    for path in _cached(folder):
        try:
            kept = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            kept = np.zeros(0)
        if kept.dtype != RECORD:
            log.warning("an unreadable cache file was passed over: %s", path.name)
            continue
        places = [(rows[key], place) for place, key in enumerate(kept["key"].tolist()) if key in rows]
        for row, place in places:
            records[row] = kept[place]


def _cached(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.npy"))
    except OSError as error:  # a folder that may not be entered
        log.warning("the cache cannot be read: %s", error)
        return []


def _remember(folder: Path, records: NDArray[Any]) -> None:
    """Keep records in a file named by their keys, so that two runs at once write the same."""
    if not len(records):
        return
    name = hashlib.blake2b(b"".join(records["key"].tolist()), digest_size=16).hexdigest()
    try:
        with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, records, allow_pickle=False)
    except OsteonError as error:
        log.warning("fingerprints were not cached: %s", error)
