"""The image store: every image decoded and resized once, then read from disk as an array.

``docs/store.md`` describes its form, its key and what it promises.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from osteon.config import Damaged, StoreSettings
from osteon.data.catalogue import Catalogue
from osteon.data.decoding import Signature, SourceFile, Square, found, in_parallel, installed_codecs, square
from osteon.data.store_files import (
    Entry,
    StoredImages,
    StoreWriter,
    clean,
    make_folder,
    new_store,
    one_builder,
    open_stored,
    stored_beside,
)
from osteon.errors import InputError, Refusal
from osteon.progress import track
from osteon.run import cache_folder

FORMAT = 1
"""Raised whenever the same file would give other pixels."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Images as one array of squares.

    Attributes:
        folder: Where the store lies.
        settings: Size and fit of the squares.
        pixels: Grey values, shape ``(n, size, size)``, read-only, read from disk as needed.
        image_ids: Name of the image in each row of ``pixels``.
        damaged: Names of the images of which a part could not be read.
        refusals: Files of the catalogue that are not in the store, and why.
    """

    folder: Path
    settings: StoreSettings
    pixels: NDArray[np.uint8]
    image_ids: tuple[str, ...]
    damaged: frozenset[str]
    refusals: tuple[Refusal, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def rows(self, image_ids: Iterable[str]) -> NDArray[np.int64]:
        """Return where images lie in ``pixels``, shape ``(len(image_ids),)``.

        Raises:
            InputError: An image is not in the store.
        """
        names = list(image_ids)
        missing = [name for name in names if name not in self._row]
        if missing:
            raise InputError(
                f"{len(missing)} images are not in the image store, e.g. {missing[0]!r}",
                where=self.folder,
                hint="Refused images are left out: use ImageStore.usable(catalogue)",
            )
        return np.array([self._row[name] for name in names], dtype=np.int64)

    def usable(self, catalogue: Catalogue) -> Catalogue:
        """Return the catalogue without the images that are not in the store."""
        keep = catalogue.images["image_id"].isin(self._row.keys())
        return catalogue if keep.all() else catalogue.with_images(catalogue.images[keep])

    @classmethod
    def build(
        cls,
        catalogue: Catalogue,
        settings: StoreSettings | None = None,
        *,
        damaged: Damaged = "use",
        folder: str | Path | None = None,
        workers: int | None = None,
    ) -> ImageStore:
        """Open the store of these images, after making what is missing of it.

        Files are compared by size and times, not read; images whose bytes are already in another store of the folder
        are copied from there, not decoded.

        Args:
            catalogue: Which images.
            settings: Size and fit; None: the defaults.
            damaged: Use of truncated files what can be read, skip them (they become refusals), or fail.
            folder: Folder of stores; None: ``stores`` in the cache folder.
            workers: Number of threads; None: one a core.

        Raises:
            InputError: No file can be read, or one is damaged and ``damaged`` is ``"fail"``.
            SettingsError: There is no room or no right to write the store.
        """
        settings = settings or StoreSettings()
        folder = cache_folder() / "stores" if folder is None else Path(folder)
        plan = _Plan.of(catalogue, settings, skip=damaged == "skip")
        target = folder / plan.name
        store = cls._from(_opened(target) or _built(target, plan, workers))
        if damaged == "fail" and store.damaged:
            raise _damaged_error(store, catalogue)
        return store

    @classmethod
    def open(cls, folder: str | Path) -> ImageStore:
        """Open a store by its folder.

        Raises:
            InputError: It is not whole.
        """
        return cls._from(open_stored(Path(folder)))

    @classmethod
    def _from(cls, stored: StoredImages) -> ImageStore:
        kept = [entry for entry in stored.entries if entry.row is not None]
        return cls(
            folder=stored.folder,
            settings=StoreSettings(size=stored.about["size"], fit=stored.about["fit"]),
            pixels=stored.pixels,
            image_ids=tuple(entry.image_id for entry in kept),
            damaged=frozenset(entry.image_id for entry in kept if entry.damaged),
            refusals=tuple(entry.refusal for entry in stored.entries if entry.refusal is not None),
        )


@dataclass(frozen=True)
class _Plan:
    """What a store must hold."""

    files: list[SourceFile]
    settings: StoreSettings
    skip: bool

    @classmethod
    def of(cls, catalogue: Catalogue, settings: StoreSettings, *, skip: bool) -> _Plan:
        images = catalogue.images
        if images.empty:
            raise InputError("the catalogue holds no image", where=catalogue.root)
        pairs = zip(images["image_id"].tolist(), images["path"].tolist(), strict=True)
        return cls([found(image_id, path) for image_id, path in pairs], settings, skip)

    @property
    def about(self) -> dict[str, Any]:
        versions = {"format": FORMAT, "pillow": PIL.__version__}
        return {"size": self.settings.size, "fit": self.settings.fit, "skip": self.skip, "made_with": versions}

    @cached_property
    def lineage(self) -> str:
        """Name of the list of files, whatever they hold."""
        return _digest([self.about, [(file.image_id, file.path) for file in self.files]])

    @cached_property
    def name(self) -> str:
        content = _digest([[file.signature for file in self.files], installed_codecs()])
        return f"{self.settings.size}-{self.settings.fit}-{self.lineage}-{content}"


class _Known:
    """Squares that other stores of the folder hold already."""

    def __init__(self, folder: Path, plan: _Plan) -> None:
        self._by_digest: dict[str, tuple[Entry, NDArray[np.uint8]]] = {}
        self._by_file: dict[tuple[str, Signature | None], Entry] = {}
        for stored in stored_beside(folder, plan.about):
            for entry in stored.entries:
                if entry.row is not None and entry.digest:
                    self._by_digest[entry.digest] = (entry, stored.pixels[entry.row])
                    self._by_file[entry.path, entry.signature] = entry

    def __contains__(self, digest: object) -> bool:
        return digest in self._by_digest

    def unchanged(self, source: SourceFile) -> Square | None:
        entry = self._by_file.get((source.path, source.signature))
        return None if entry is None or source.signature is None else Square(entry.digest)

    def filled(self, result: Square) -> Square:
        """Give a square that was not decoded its pixels."""
        if result.pixels is not None or result.refusal is not None:
            return result
        entry, pixels = self._by_digest[result.digest]
        return Square(result.digest, pixels, entry.damaged)


def _opened(target: Path) -> StoredImages | None:
    with suppress(InputError):
        return open_stored(target)
    return None


def _built(target: Path, plan: _Plan, workers: int | None) -> StoredImages:
    folder = target.parent
    make_folder(folder)
    with one_builder(folder, plan.lineage) as alone:
        stored = _opened(target)  # by whoever held the lock before
        if stored is None:
            with new_store(target, plan.about, len(plan.files)) as writer:
                _fill(writer, plan, _Known(folder, plan), workers)
            stored = open_stored(target)
        clean(folder, keep=target, own=plan.lineage if alone else None)
        return stored


def _fill(writer: StoreWriter, plan: _Plan, known: _Known, workers: int | None) -> None:
    def work(source: SourceFile) -> Square:
        return known.unchanged(source) or square(source, plan.settings, known)

    with closing(in_parallel(work, plan.files, workers)) as squares:
        tracked = track(squares, "Decoding images", len(plan.files))
        for source, result in zip(plan.files, tracked, strict=True):
            _append(writer, source, known.filled(result), skip=plan.skip)
    if not writer.rows:
        raise _nothing_left(writer.entries)
    log.info("stored %d of %d images", writer.rows, len(plan.files))


def _append(writer: StoreWriter, source: SourceFile, result: Square, *, skip: bool) -> None:
    refusal = result.refusal
    if refusal is None and result.damaged and skip:
        refusal = Refusal(source.path, "damaged", "a part of the picture cannot be read")
    row = writer.rows if refusal is None else None
    entry = Entry(source.image_id, source.path, source.signature, result.digest, row, result.damaged, refusal)
    writer.append(entry, None if refusal else result.pixels)


def _nothing_left(entries: list[Entry]) -> InputError:
    refusals = [entry.refusal for entry in entries if entry.refusal is not None]
    gone = all(refusal.reason == "missing" for refusal in refusals)
    return InputError(
        f"none of {len(entries)} images can be used; the first one: {refusals[0].detail}",
        where=refusals[0].path,
        hint="If a run's data were moved: osteon data moved RUN DATA says where they are now"
        if gone
        else "Check the paths and the files: osteon data audit lists each of them",
    )


def _damaged_error(store: ImageStore, catalogue: Catalogue) -> InputError:
    paths = catalogue.images.set_index("image_id")["path"]
    names = [str(paths[image_id]) for image_id in sorted(store.damaged)]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return InputError(
        f"{len(names)} images are damaged: {', '.join(names[:5])}{more}",
        where=catalogue.root,
        hint="--damaged use takes what can be read of them, --damaged skip leaves them out",
    )


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
