"""Data that were moved: runs told where their images lie now, once it is sure that they are the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from osteon.config import dump_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError
from osteon.run import RunFolder, read_json, write_json, write_text
from osteon.training.same_data import is_split, refuse_other_place


@dataclass(frozen=True)
class _Move:
    """A run, and where its data lie now.

    Attributes:
        run: Its folder.
        root: The folder that its images' paths are relative to.
        images: Its catalogue, with paths there.
    """

    run: RunFolder
    root: Path
    images: Catalogue


def point_to(folder: str | Path, data: str | Path) -> list[RunFolder]:
    """Tell a run, or every run in a folder of folds or of a study, that its data were moved.

    Runs whose images have other names, as those of a study's second data set, stay as they are. Nothing is changed
    unless all files of all the others hold what they held when these were trained.

    Args:
        folder: Of the run, or of the runs.
        data: The data's folder or table at its new place, as it is to be given to ``osteon train`` from now on.

    Returns:
        The runs that know the new place now.

    Raises:
        InputError: There is no run, or no run's images are there.
        OtherDataError: They are there, but a file holds something else.
    """
    runs = [run for run in map(RunFolder, _folders(Path(folder))) if is_split(run)]
    if not runs:
        raise InputError("holds no run that knows its images", where=folder, hint="osteon data moved RUN DATA")
    moves = [move for run in runs if (move := _found(run, Path(data))) is not None]
    if not moves:
        raise InputError(
            _missing(runs[0], Path(data)), where=data, hint="Name the folder or table that was given before"
        )
    for move in moves:
        refuse_other_place(move.run, move.images)
    for move in moves:
        _write(move, Path(data))
    return [move.run for move in moves]


def _folders(folder: Path) -> list[Path]:
    return sorted(config.parent for config in folder.rglob("config.yaml"))


def _names(run: RunFolder) -> list[str]:
    """Return the images' paths, relative to their root; those that lie elsewhere are absolute."""
    catalogue = Catalogue.read(run.split)
    prefix = f"{catalogue.root}/"
    return [path.removeprefix(prefix) for path in catalogue.images["path"]]


def _found(run: RunFolder, data: Path) -> _Move | None:
    """Return where a run's images lie now: beside what the data were called, or in a folder in it, as before."""
    catalogue, names = Catalogue.read(run.split), _names(run)
    place = (data if data.is_dir() else data.parent).resolve()
    for root in (place, place / catalogue.root.name):
        paths = [root / name for name in names]
        if any(not Path(name).is_absolute() for name in names) and all(path.is_file() for path in paths):
            images = catalogue.images.assign(path=[str(path) for path in paths])
            return _Move(run, root, catalogue.with_images(images))
    return None


def _missing(run: RunFolder, data: Path) -> str:
    place = data if data.is_dir() else data.parent
    names = _names(run)
    gone = [name for name in names if not (place / name).is_file()] or names
    return f"{len(gone)} of {len(names)} images of {run.path} are not there, e.g. {gone[0]}"


def _write(move: _Move, data: Path) -> None:
    settings = move.run.settings()
    moved = settings.model_copy(update={"data": settings.data.model_copy(update={"path": data})})
    write_text(move.run.config, dump_settings(moved))
    about = move.run.split.with_suffix(".json")
    write_json(about, {**read_json(about), "root": str(move.root)})
