"""The command ``osteon``: gathers the command groups and turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import json
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from osteon._version import __version__
from osteon.cli.console import Console, outlive_readers, visible, write_plainly
from osteon.cli.stopping import MESSAGE, REFUSED
from osteon.errors import OsteonError, SettingsError

COMMANDS = {
    "demo": "demo.demo",
    "data": "data.app",
    "train": "train.train",
    "slim": "slim.slim",
    "evaluate": "evaluate.evaluate",
    "compare": "evaluate.compare",
    "ensemble": "ensemble.ensemble",
    "explain": "explain.explain",
    "study": "study.app",
    "submit": "submit.submit",
    "export": "export.export",
    "predict": "predict.predict",
    "validate": "validate.validate",
    "serve": "serve.serve",
    "dicom-node": "dicom_node.dicom_node",
    "dicomweb": "dicomweb.dicomweb",
    "models": "models.app",
    "doctor": "doctor.doctor",
}
"""Each command, in the order of the help, with its module in this package and what is there: a function or a group."""

INTERRUPTED = 130

_CLOSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
"""Why a path that a user gave, or a folder above it, cannot even be looked at."""


class _Group(TyperGroup):
    """The commands in their own order: the library's has single commands before groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


def _version(value: bool) -> None:
    if value:
        print(f"osteon {__version__}")
        raise typer.Exit


def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Classify radiographs of bones: no leaks, honest intervals, calibrated answers. Not a medical device."""


def command_line(wanted: str | None = None) -> typer.Typer:
    """Return the program ``osteon``.

    Args:
        wanted: The one command that will be called: a program of it alone starts sooner. None, or anything else: all
            commands.
    """
    app = typer.Typer(
        name="osteon",
        help="Classify radiographs of bones: no leaks, honest intervals, calibrated answers. Not a medical device.",
        no_args_is_help=True,
        cls=_Group,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in (wanted,) if wanted in COMMANDS else COMMANDS:
        module, _, part = COMMANDS[name].partition(".")
        found = getattr(import_module(f"osteon.cli.{module}"), part)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0 done, 1 a fault of ours, 2 wrong usage or settings, 3 some or all input refused or interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a picture, its refusal or a finding says
    Console.documents = 0
    outlive_readers()
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter of a name stops nothing
        write_plainly(stream)
    try:
        app = command_line(arguments[0] if arguments else None)
        code = app(args=arguments, prog_name="osteon", standalone_mode=False)
    except OsteonError as error:
        return _fail(error.as_dict(), error.exit_code, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _CLOSED and error.filename is not None:
            return _fail(_cannot_open(error).as_dict(), 2, as_json=as_json)
        if not hasattr(error, "format_message"):
            raise
        return _wrong_usage(error, as_json=as_json)
    if code == INTERRUPTED:
        return _fail(MESSAGE, REFUSED, as_json=as_json)
    return code if isinstance(code, int) else 0


def _cannot_open(error: OSError) -> SettingsError:
    hint = "Check its name, and the rights to it and to the folders above"
    return SettingsError(f"cannot be opened: {error.strerror}", where=str(error.filename), hint=hint)


def _wrong_usage(error: Any, *, as_json: bool) -> int:
    """Show a usage error of the command-line library, which may bring its own copy of click's classes."""
    if not as_json:
        error.show()
        return int(error.exit_code)
    return _fail({"error": "UsageError", "what": error.format_message()}, int(error.exit_code), as_json=True)


def _fail(error: Mapping[str, str | None], code: int, *, as_json: bool) -> int:
    """Print what, where and what to do."""
    if as_json and not Console.documents:
        print(json.dumps({key: value for key, value in error.items() if value is not None}))
    where = f"{visible(str(error['where']))}: " if error.get("where") else ""
    print(f"error: {where}{error['what']}", file=sys.stderr)
    if error.get("hint"):
        print(f"       {error['hint']}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
