"""``osteon data``: audit, explore, phantoms, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osteon.cli.console import JSON_OPTION, Console

app = typer.Typer(help="Look into a data set before anything is trained on it.", no_args_is_help=True)


@app.command()
def fetch(
    data_set: Annotated[str, typer.Argument(metavar="DATA", help="fracatlas, or mura for how to get it.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to put it in.")] = Path(),
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the downloaded ZIP file.")] = False,
    api: Annotated[str | None, typer.Option("--api", help="Address of a mirror of figshare's API.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Download a public data set, or say how to get one whose licence forbids that.

    For mura the instructions are all there can be, so printing them is success (exit code 0).

    Example: osteon data fetch fracatlas --to data
    """
    from osteon.data import fetch as fetching
    from osteon.errors import SettingsError

    console = Console(as_json=as_json)
    if data_set == "mura":
        text = fetching.mura_instructions(to)
        console.emit({"data_set": "mura", "path": None, "instructions": text})
        if not as_json:
            console.note(text.rstrip())
        return
    if data_set != "fracatlas":
        raise SettingsError(f"there is no data set {data_set!r} to fetch", hint="Known: fracatlas, mura")
    with console.progress():
        folder = fetching.fetch_fracatlas(to, api=api or fetching.FIGSHARE, keep_archive=keep_archive)
    console.emit({"data_set": "fracatlas", "path": str(folder), "licence": "CC BY 4.0"})
    if not as_json:
        console.note(f"FracAtlas (CC BY 4.0) is in {folder}\nNext: osteon data audit {folder}")
