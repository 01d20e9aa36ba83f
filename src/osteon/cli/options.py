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


OPTIONS = {
    "data.path": "DATA",
    "data.reader": "--reader",
    "data.regions": "--region",
    "data.reader_options": "--option",
    "data.neighbours": "--neighbours",
    "data.damaged": "--damaged",
    "model.name": "--model",
    "model.weights": "--weights",
    "method.name": "--method",
    "split.method": "--split",
    "split.folds": "--folds",
    "training.epochs": "--epochs",
    "seed": "--seed",
    "evaluation.threshold": "--threshold",
    "evaluation.fixed_threshold": "--threshold",
    "evaluation.pooling": "--pooling",
    "evaluation.resamples": "--resamples",
    "evaluation.by": "--by",
}
"""What sets a setting without ``--set``. ``split.seed`` is not here: ``--set`` may give the split a seed of its own."""


def with_settings(named: dict[str, Any], texts: list[str] | None) -> dict[str, Any]:
    """Return overrides for :func:`osteon.config.load_settings` by options of their own and by ``--set``.

    An option that is given several times holds as it was given last. Two that set the same setting must agree: neither
    is silently preferred.

    Args:
        named: What options of their own say, by dotted key.
        texts: The ``KEY=VALUE`` texts of ``--set``; their values stay text.

    Raises:
        SettingsError: A text has no ``=``, a value is not valid YAML, or an option and ``--set`` say different things.
    """
    pairs: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"{text!r} is not of the form KEY=VALUE", where="--set")
        pairs[key.strip()] = value
    for key, value in named.items():
        if key in OPTIONS:
            _refuse_other(key, value, pairs)
    return named | pairs


def _refuse_other(key: str, value: Any, pairs: dict[str, str]) -> None:
    """Refuse texts of ``--set`` that say something else than an option does."""
    for other, text in pairs.items():
        if not f"{other}.".startswith(f"{key}.") and not key.startswith(f"{other}."):
            continue
        if _differ(key, _taken(key, value), other, _taken(other, text)):
            what = f"{OPTIONS[key]} and --set {other}={text} say different things of one setting"
            raise SettingsError(what, hint="Leave one of them out")


def _differ(key: str, value: Any, other: str, said: Any) -> bool:
    """Whether two values do, of one setting, or of a setting and the group that it is in."""
    if other.startswith(f"{key}."):  # one more of an option's group is no contradiction
        return bool(_inside(value, other.removeprefix(f"{key}."), said) != said)
    if key.startswith(f"{other}."):  # the whole group is given anew: what is not in it would be lost
        return bool(_inside(said, key.removeprefix(f"{other}."), None) != value)
    return bool(Path(value) != Path(str(said)) if key == "data.path" else value != said)


def _inside(group: Any, key: str, otherwise: Any) -> Any:
    """Return what a group holds under a key; what is missing from it is ``otherwise``."""
    for part in key.split("."):
        if not isinstance(group, dict) or part not in group:
            return otherwise
        group = group[part]
    return group


def _taken(key: str, value: Any) -> Any:
    """Return a value as it will be taken: text is YAML, a path its name."""
    from osteon.strict_yaml import parse_value

    if isinstance(value, str):
        return parse_value(value, key)
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
