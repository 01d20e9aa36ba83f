"""The command ``osteon``: gathers the command groups and turns errors into messages and exit codes."""

from __future__ import annotations

import json
import sys

import click
import typer

from osteon._version import __version__
from osteon.cli import data, doctor, models
from osteon.errors import OsteonError

app = typer.Typer(
    name="osteon",
    help="Classify radiographs of bones: no leaks, honest intervals, calibrated answers. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        print(f"osteon {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Classify radiographs of bones: no leaks, honest intervals, calibrated answers. Not a medical device."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0 done, 1 a fault of ours, 2 wrong usage or settings, 3 some or all input refused or interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        code = app(args=arguments, prog_name="osteon", standalone_mode=False)
    except OsteonError as error:
        return _fail(error.as_dict(), error.exit_code, as_json=as_json)
    except click.ClickException as error:
        if not as_json:
            error.show()
            return error.exit_code
        return _fail({"error": "UsageError", "what": error.format_message()}, error.exit_code, as_json=True)
    except (KeyboardInterrupt, click.Abort):
        what = "interrupted; nothing half-written was kept"
        return _fail({"error": "Interrupted", "what": what}, 3, as_json=as_json)
    return code if isinstance(code, int) else 0


def _fail(error: dict[str, str | None], code: int, *, as_json: bool) -> int:
    """Print what, where and what to do."""
    if as_json:
        print(json.dumps({key: value for key, value in error.items() if value is not None}))
    where = f"{error['where']}: " if error.get("where") else ""
    print(f"error: {where}{error['what']}", file=sys.stderr)
    if error.get("hint"):
        print(f"       {error['hint']}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
