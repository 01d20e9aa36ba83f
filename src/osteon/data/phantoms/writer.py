"""Phantoms on disk: MURA's own tree and tables, the boxes, and the marker that says they are synthetic."""

from __future__ import annotations

import csv
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from osteon._version import __version__
from osteon.data.phantoms.plan import Study, plan_studies
from osteon.data.phantoms.settings import PhantomSettings
from osteon.errors import OsteonError, SettingsError
from osteon.machine import available_cores
from osteon.progress import track
from osteon.run import read_json, temporary_prefix, unwritable, write_json

MARKER = "PHANTOMS.json"
ROOT_IN_TABLES = "MURA-v1.1"
NOTE = "Synthetic radiographs made by geometry and physics; not of any person; never to be presented as real."
FORMAT = 1
FEW_STUDIES = 24
Records = list[dict[str, Any]]
Rows = tuple[Records, Records]


def write_phantoms(
    folder: str | Path, settings: PhantomSettings | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Write phantoms in MURA v1.1's layout, whole or not at all.

    The same settings give the same bytes whatever the number of workers. Besides MURA's four tables the folder holds
    ``boxes.csv`` (where bones are broken), ``phantoms.csv`` (what each picture shows and how it was taken) and
    ``PHANTOMS.json`` (settings and counts; it marks the folder as synthetic).

    Args:
        folder: To be made; an older folder of phantoms there is replaced.
        settings: What to make; None for the defaults.
        workers: Processes; None for as many as there are processors, 1 for none besides this one. More than one needs
            a main module that can be imported, as ``multiprocessing`` does.

    Returns:
        What ``PHANTOMS.json`` holds.

    Raises:
        SettingsError: The folder holds something else, or cannot be written.
    """
    folder, settings = Path(folder), settings or PhantomSettings()
    refuse_foreign(folder)
    studies = plan_studies(settings)
    with _whole_folder(folder) as temporary:
        images, boxes = _pictures(temporary, studies, settings, workers)
        return _tables(temporary, studies, settings, images, boxes)


def refuse_foreign(folder: Path) -> None:
    """Allow a folder that is new, empty, or holds phantoms.

    Raises:
        SettingsError: It is a file, or holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if folder.is_dir() and (folder / MARKER).is_file():
        marker = read_json(folder / MARKER)
        if isinstance(marker, dict) and marker.get("synthetic") is True:
            return
    raise SettingsError(
        "the folder is not empty and holds no phantoms" if folder.is_dir() else "this is a file, not a folder",
        where=folder,
        hint="Choose a new or empty folder; only phantoms are ever replaced",
    )


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the target that takes its place only if the block succeeds."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(target.name), suffix=".part", dir=target.parent))
    except OSError as error:
        raise unwritable(error, target) from error
    try:
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.replace(temporary / "old")
        fresh.replace(target)
    except OSError as error:
        raise unwritable(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _pictures(root: Path, studies: Sequence[Study], settings: PhantomSettings, workers: int | None) -> Rows:
    """Render and write every study, in parallel where it pays; rows come in the order of the studies."""
    write = partial(write_study, root, settings=settings)
    count = workers or available_cores()
    if count == 1 or (workers is None and len(studies) < FEW_STUDIES):
        return _joined(track(map(write, studies), "Making phantoms", total=len(studies)))
    pool = ProcessPoolExecutor(min(count, len(studies)), mp_context=get_context("spawn"), initializer=_in_worker)
    try:
        return _joined(track(pool.map(write, studies, chunksize=4), "Making phantoms", total=len(studies)))
    except BrokenProcessPool:
        raise OsteonError(
            "a worker process ended before its work was done",
            where=root.parent.parent,
            hint="Use workers=1 (--workers 1) where memory is short or the main module cannot be imported",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_worker() -> None:
    """Leave Ctrl-C to the parent, which then tidies up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _joined(results: Iterable[Rows]) -> Rows:
    pairs = list(results)
    return list(chain.from_iterable(pair[0] for pair in pairs)), list(chain.from_iterable(pair[1] for pair in pairs))


def write_study(root: Path, study: Study, settings: PhantomSettings) -> Rows:
    """Render and write one study's images.

    Returns:
        A row of ``phantoms.csv`` for each image, and a row of ``boxes.csv`` for each box.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from osteon.data.phantoms.render import Specimen, facts, render

    specimen = Specimen.of(study, settings)
    (root / study.folder).mkdir(parents=True, exist_ok=True)
    said = PngInfo()
    said.add_text("Comment", f"Osteon phantom. {NOTE}")
    images, boxes = [], []
    for number in range(1, study.images + 1):
        radiograph = render(specimen, number)
        name = study.image_id(number)
        Image.fromarray(radiograph.pixels).save(root / name, pnginfo=said, compress_level=3)
        images.append({"image_id": name, "label": int(study.positive), **facts(specimen, radiograph)})
        for bone, kind, (x, y, width, height) in radiograph.boxes:
            boxes.append(
                {"image_id": name, "x": x, "y": y, "width": width, "height": height, "kind": kind, "bone": bone}
                | _stated(specimen.breaks[bone])
            )
    return images, boxes


def _stated(event: Any) -> dict[str, float]:
    return {
        "displacement_mm": round(event.displacement, 2),
        "angulation_deg": round(event.angulation, 2),
        "gap_mm": round(event.gap, 2),
    }


def _tables(
    root: Path,
    studies: Sequence[Study],
    settings: PhantomSettings,
    images: list[dict[str, Any]],
    boxes: list[dict[str, Any]],
) -> dict[str, Any]:
    for split in ("train", "valid"):
        members = [study for study in studies if study.split == split]
        paths = [[f"{ROOT_IN_TABLES}/{study.image_id(n)}"] for study in members for n in range(1, study.images + 1)]
        labels = [[f"{ROOT_IN_TABLES}/{study.folder}/", int(study.positive)] for study in members]
        _write_csv(root / f"{split}_image_paths.csv", paths)
        _write_csv(root / f"{split}_labeled_studies.csv", labels)
    _write_records(root / "phantoms.csv", images, ("image_id", "label"))
    columns = ("image_id", "x", "y", "width", "height", "kind", "bone", "displacement_mm", "angulation_deg", "gap_mm")
    _write_records(root / "boxes.csv", boxes, columns)
    marker = {
        "synthetic": True,
        "note": NOTE,
        "target": "fractured",
        "format": FORMAT,
        "version": __version__,
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json"),
        "counts": _counts(studies),
    }
    write_json(root / MARKER, marker)
    return marker


def _counts(studies: Sequence[Study]) -> dict[str, int]:
    return {
        "patients": len({study.patient for study in studies}),
        "studies": len(studies),
        "positive_studies": sum(study.positive for study in studies),
        "images": sum(study.images for study in studies),
        "positive_images": sum(study.images for study in studies if study.positive),
        "train_images": sum(study.images for study in studies if study.split == "train"),
        "valid_images": sum(study.images for study in studies if study.split == "valid"),
    }


def _write_records(path: Path, records: Records, columns: Sequence[str]) -> None:
    names = list(records[0]) if records else list(columns)
    _write_csv(path, [names, *([record[name] for name in names] for record in records)])


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
