"""``osteon slim``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import output_path
from osteon.errors import require


def slim(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            parser=output_path,
            metavar="DIR",
            help="Run folder to make; new or empty.",
            show_default=False,
        ),
    ],
    keep: Annotated[
        float, typer.Option("--keep", min=0.05, max=0.99, help="Share of the multiply-adds that may stay.")
    ] = 0.5,
    images: Annotated[
        int, typer.Option("--images", min=16, help="At most so many training images say what matters.")
    ] = 1024,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    r"""Take the channels that matter least out of a trained network; train it on afterwards.

    Example: osteon slim runs/wide -o runs/start && osteon train --preset runs/start/config.yaml --weights runs/start
    --set training.teachers=\[runs/wide] --set training.freeze=0 --out runs/narrow
    """
    require("lightning", extra="train", feature="Narrowing a network")
    from osteon.training.slimming import slim as narrowed

    console = Console(as_json=as_json)
    with console.progress():
        result = narrowed(run, out, keep=keep, images=images)
    console.table(
        f"Channels inside each block, {run} to {out}",
        ["block", "before", "now"],
        [(number, *row) for number, row in enumerate(zip(result.before, result.after, strict=True), start=1)],
    )
    share = result.multiply_adds_after / result.multiply_adds_before
    console.note(
        f"{result.multiply_adds_after / 1e6:,.0f} million multiply-adds an image, {100 * share:.0f} % of what they were"
    )
    console.note("It has to be trained on before it answers as well as it did; osteon slim --help shows how")
    console.emit(result.as_dict())
