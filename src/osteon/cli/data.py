"""``osteon data``: audit, explore, phantoms, fetch."""

from __future__ import annotations

import typer

app = typer.Typer(help="Look into a data set before anything is trained on it.", no_args_is_help=True)
