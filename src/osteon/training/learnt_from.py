"""Which model files a run has learnt from, as start or teacher, and whether they may know what it holds out.

A model file holds no list of the images that it was taught on. So what can be known is whether the run's images are of
a data set of the same name; runs whose images are known are looked at by :mod:`osteon.evaluation.lineage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.data_set_names import seems_taught_on
from osteon.evaluation.lineage import (
    LEAK,
    STARTED,
    TAUGHT,
    ancestors,
    initial_runs,
    model_files,
    parents,
    teacher_files,
)
from osteon.models.file_network import FileNetwork, find_file_network, is_gone
from osteon.run import RunFolder
from osteon.training.also_train import DATA_SET

THROUGH = "through"
"""Key of a record: the run by way of which it was learnt from; not there where the run's own settings name the file."""

_ANEW = "Put the file back, or train anew: osteon train DATA --out FOLDER"

Record = dict[str, Any]


def with_model_files(catalogue: Catalogue, settings: RunSettings) -> Catalogue:
    """Return a run's images with the model files that it learns from, and a warning of any that may have seen them.

    Those of the runs that it learns from are among them: what these had started from and been taught by.

    Args:
        catalogue: The images of the run. Where they are read from the ``split.csv`` of another one, what that run had
            learnt from is left out: this one has not.
        settings: Of the run.
    """
    catalogue = _without_model_files(catalogue)
    found = {STARTED: _unique(_starts(settings)), TAUGHT: _unique(_teachers(settings))}
    kept = {
        key: [{**about, LEAK: _leak(catalogue, about, key)} for about in records]
        for key, records in found.items()
        if records
    }
    source = {**catalogue.source, **kept}
    said = (str(about[LEAK]) for about in model_files(source) if about[LEAK])
    other = (text for about in found[STARTED] for text in _other_target(catalogue, about))
    return replace(catalogue, source=source, warnings=(*catalogue.warnings, *said, *other))


def _without_model_files(catalogue: Catalogue) -> Catalogue:
    """Return images without the model files of a run and what was said of them."""
    before = model_files(catalogue.source)
    said = {str(about.get(LEAK)) for about in before}
    said |= {text for about in before for text in _other_target(catalogue, about)}
    source = {key: value for key, value in catalogue.source.items() if key not in (STARTED, TAUGHT)}
    return replace(catalogue, source=source, warnings=tuple(text for text in catalogue.warnings if text not in said))


def provenance(file: FileNetwork, named: str) -> Record:
    """Return what is kept of a model file that a run learns from: which it is, and what it was taught on.

    Args:
        file: The model file's network.
        named: What the user called it.
    """
    return {
        "weights": named,
        "file": file.path.name,
        "sha256": file.sha256,
        "model": file.title,
        "target": file.target,
        "taught_on": {name: value for name, value in file.data.items() if value},
    }


def refuse_other_files(catalogue: Catalogue, settings: RunSettings) -> None:
    """Refuse to go on with a run whose model files are others by now, or whose teachers are gone.

    The file that it started from may be gone: see :func:`osteon.training.start.to_go_on`.

    Args:
        catalogue: As the run has kept it.
        settings: Of the run.

    Raises:
        SettingsError: A file's content is not what it was.
        InputError: A teacher is gone, or a file cannot be read.
    """
    named = settings.model.weights
    if not is_gone(named):
        _refuse_other(find_file_network(named), catalogue.source.get(STARTED) or [])
    for name in teacher_files(settings):
        if is_gone(name):
            what = "this teacher's file is gone, and the run cannot go on without it"
            raise InputError(what, where=name, hint=_ANEW)
        _refuse_other(find_file_network(name), catalogue.source.get(TAUGHT) or [])


def taught_on(about: Mapping[str, Any]) -> str:
    """Return in words what a model that a run learnt from was taught on, by what the run keeps of it."""
    taught = about["taught_on"]
    return f"taught on {taught.get('images', 0):,} images of {taught.get('name', 'unknown data')}"


def sentences(source: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which model files a network has learnt from, for those who are given it.

    Args:
        source: Provenance of the run's images.
    """
    warned = {about["sha256"]: key for key in (TAUGHT, STARTED) for about in source.get(key) or []}
    return tuple(
        f"{'Its training' if key == STARTED else 'It'} {_how(about, key)}, which was {taught_on(about)} "
        f"(SHA-256 {about['sha256']})."
        + (f" {about[LEAK]}." if about.get(LEAK) and warned[about["sha256"]] == key else "")
        for key in (STARTED, TAUGHT)
        for about in source.get(key) or []
    )


def _starts(settings: RunSettings) -> Iterator[Record]:
    """Yield what the network starts from, itself or through the runs whose weights it starts from."""
    if (file := find_file_network(settings.model.weights)) is not None:
        yield provenance(file, settings.model.weights)
    for run in initial_runs(settings):
        yield from _recorded(run, STARTED)


def _teachers(settings: RunSettings) -> Iterator[Record]:
    """Yield what teaches the network, then what it learns from through the runs that it learns from."""
    for name in teacher_files(settings):
        if (file := find_file_network(name)) is not None:
            yield provenance(file, name)
    starts = [run.path for run in initial_runs(settings)]
    for parent in parents(settings):
        for run in ancestors(parent):
            keys = (TAUGHT,) if run.path in starts else (STARTED, TAUGHT)
            yield from ({**about, THROUGH: parent.path.name} for key in keys for about in _recorded(run, key))


def _recorded(run: RunFolder, key: str) -> list[Record]:
    try:
        found: list[Record] = Catalogue.read(run.split).source.get(key) or []
    except InputError:  # lineage.refuse_leaks has said so
        return []
    return found


def _unique(records: Iterable[Record]) -> list[Record]:
    """Return records of different files, of each the first."""
    found: dict[str, Record] = {}
    for about in records:
        found.setdefault(str(about["sha256"]), about)
    return list(found.values())


def _refuse_other(file: FileNetwork | None, begun: list[Record]) -> None:
    if file is not None and begun and file.sha256 not in [about["sha256"] for about in begun]:
        raise SettingsError("the model file is not the one that the run began with", where=file.path, hint=_ANEW)


def _how(about: Mapping[str, Any], key: str) -> str:
    """Say how something has learnt from a model file."""
    if key == STARTED:
        return f"started from {about['model']}"
    if about.get(THROUGH):
        return f"learnt by way of the run {about[THROUGH]} from {about['model']}"
    return f"was taught by {about['model']}"


def _leak(catalogue: Catalogue, about: Mapping[str, Any], key: str) -> str:
    """Say that held-out images may be known to the network; "" where nothing hints at it."""
    taught, held_out = about["taught_on"], _held_out(catalogue)
    name, attribution = str(taught.get("name", "")), str(taught.get("attribution", ""))
    if not len(held_out) or not seems_taught_on(held_out, name, attribution):
        return ""
    too_good = "are" if key == STARTED else "may be"
    return (
        f"The network {_how(about, key)}, which was {taught_on(about)}, and a model file holds no list of "
        f"them: validation and test images of this run may be among them, and then its figures {too_good} too good. "
        "Believe only figures on images that the model cannot have seen"
    )


def _held_out(catalogue: Catalogue) -> Catalogue:
    """Return the images that are validated or tested on, and of further data sets those that have such."""
    images = catalogue.images[catalogue.images["split"].isin(("valid", "test"))]
    sets = set(images.get(DATA_SET, ()))
    joined = [about for about in catalogue.source.get("also_train", []) if about["name"] in sets]
    return replace(catalogue.with_images(images), source={**catalogue.source, "also_train": joined})


def _other_target(catalogue: Catalogue, about: Mapping[str, Any]) -> Iterator[str]:
    if about["target"] != catalogue.target:
        yield f"{about['model']} has learnt to tell {about['target']!r}; label 1 means {catalogue.target!r} here"
