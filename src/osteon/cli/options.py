"""Options that several commands share: which data, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.errors import SettingsError

if TYPE_CHECKING:
    from osteon.config import DataSettings


def output_path(text: str | Path) -> Path:
    """Return the path of an output; an empty name, of a variable of the shell that is not set, is not this folder."""
    if not str(text).strip():
        raise typer.BadParameter("names no file or folder")
    return Path(text)


def data_path(text: str | Path) -> Path:
    """Return the path of a data set; an empty name, as for :func:`output_path`, is not this folder."""
    if not str(text).strip():
        raise typer.BadParameter("names no folder or table; this folder is '.'")
    return Path(text)


DataArgument = Annotated[
    Path,
    typer.Argument(
        parser=data_path, metavar="DATA", help="Folder or table that holds the data set.", show_default=False
    ),
]
ReaderOption = Annotated[
    str | None,
    typer.Option("--reader", help="mura, fracatlas, table, or auto: by what lies in the folder.", show_default="auto"),
]
RegionOption = Annotated[
    list[str] | None,
    typer.Option("--region", help="Body region to keep, e.g. humerus; may be given again.", show_default="all"),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the reader; may be given again."),
]
NeighboursOption = Annotated[
    int | None,
    typer.Option(
        "--neighbours",
        min=0,
        metavar="N",
        help="Where patients are unknown, take each block of N file numbers as one patient; 0: off.",
        show_default="the reader's own",
    ),
]
DamagedOption = Annotated[
    str | None,
    typer.Option(
        "--damaged",
        metavar="use|skip|fail",
        help="Truncated files: use what can be read, skip them, or fail.",
        show_default="use",
    ),
]
ByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="COLUMN[:BOUNDS]",
        help="Score the subgroups of a further column too, each against all others: sex, or age:18,65. Repeatable.",
        show_default=False,
    ),
]
PointOption = Annotated[
    str | None,
    typer.Option(
        "--point",
        "--operating-point",
        help="The model's threshold by name, e.g. kappa, youden or sensitive.",
        show_default="the model's first",
    ),
]


def data_overrides(
    path: Path | None = None,
    *,
    reader: str | None = None,
    region: list[str] | None = None,
    option: list[str] | None = None,
    neighbours: int | None = None,
    damaged: str | None = None,
) -> dict[str, Any]:
    """Return what was given on the command line as overrides for :func:`osteon.config.load_settings`.

    Raises:
        SettingsError: An ``--option`` is not of the form ``key=value``.
    """
    given: dict[str, Any] = {
        "data.path": path,
        "data.reader": reader,
        "data.regions": tuple(name.lower().removeprefix("xr_") for name in region) if region else None,
        "data.reader_options": reader_options(option) if option else None,
        "data.neighbours": neighbours,
        "data.damaged": damaged,
    }
    return {key: value for key, value in given.items() if value is not None}


def data_settings(
    path: Path,
    *,
    reader: str | None = None,
    region: list[str] | None = None,
    option: list[str] | None = None,
    neighbours: int | None = None,
    damaged: str | None = None,
) -> DataSettings:
    """Return the data settings that the shared options describe.

    Raises:
        SettingsError: An option is malformed or out of range.
    """
    from osteon.config import load_settings

    overrides = data_overrides(
        path, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged
    )
    return load_settings(None, overrides).data


def reader_options(pairs: list[str]) -> dict[str, Any]:
    """Return ``key=value`` texts as a dictionary, values read as YAML (``true``, ``3``, ``[a, b]``, else text).

    Raises:
        SettingsError: A text has no ``=`` or no key, its value is not valid YAML, or a key is given twice.
    """
    import yaml

    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise SettingsError(f"{pair!r} is not of the form KEY=VALUE", where="--option")
        if key in options:
            raise SettingsError(f"{key!r} is given twice", where="--option")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SettingsError(f"the value of {key!r} is not valid YAML: {value!r}", where="--option") from None
    return options


def settings_overrides(texts: list[str] | None) -> dict[str, Any]:
    """Return the ``KEY=VALUE`` texts of ``--set`` as overrides, values still text.

    Raises:
        SettingsError: A text has no ``=``.
    """
    pairs: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"{text!r} is not of the form KEY=VALUE", where="--set")
        pairs[key.strip()] = value
    return pairs
