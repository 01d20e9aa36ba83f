"""``osteon predict``: answers for files and folders."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osteon.cli.answers import Answers
from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import PointOption, output_path
from osteon.cli.stopping import stopped_once

if TYPE_CHECKING:
    from osteon.inference.case import Case
    from osteon.inference.predictor import Predictor
    from osteon.inference.views import View

MANY = 200
"""So many images are worth starting processes for."""


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS",
            help="Pictures, DICOM files, folders, ZIP archives, tables of paths.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Model file, or one of the package's: fracture, fracture-int8, fracture-fast.", show_default="fracture"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What is asked for; a model for another target is refused.", show_default=False)
    ] = None,
    point: PointOption = None,
    error_rate: Annotated[
        float | None,
        typer.Option(help="Error rate behind 'uncertain': smaller abstains more.", show_default="the model's"),
    ] = None,
    region: Annotated[
        str,
        typer.Option(help="Body region of all the images, e.g. hand; DICOM files say their own.", show_default=False),
    ] = "",
    study_by: Annotated[
        str,
        typer.Option(
            help="What makes images one study: none, folder, name (up to the last space, _ or -), or column:NAME of a "
            "CSV table with the columns path and NAME given as input; DICOM files say their own."
        ),
    ] = "none",
    pooling: Annotated[str, typer.Option(help="Views to one probability: mean, max or noisy_or.")] = "mean",
    tta: Annotated[
        list[str] | None,
        typer.Option("--tta", metavar="VIEW", help="Average over further views, e.g. horizontal_flip or rotate:5."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(parser=output_path, metavar="PATH", help="Write a table too.", show_default=False)
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            parser=output_path, metavar="PATH", help="Folder for pictures with the map laid over.", show_default=False
        ),
    ] = None,
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            parser=output_path,
            metavar="PATH",
            help="Folder for a DICOM report, overlay and outline of each DICOM study.",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Images at a time.", show_default="one a core", min=1)] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Hold back what is no radiograph.")] = True,
    closer_look: Annotated[
        bool,
        typer.Option(
            "--closer-look/--one-look",
            help="Look closer where the model asks for it: more exact, up to twice the time.",
        ),
    ] = True,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Say of each radiograph how likely it shows the model's target, or that it is uncertain. Not a medical device.

    Example: osteon predict wrist.png --heatmaps maps

    Example: osteon predict studies/ --study-by folder --csv answers.csv
    """
    from osteon.clinical.quiet_logs import silence_quotations
    from osteon.inference.case import in_home
    from osteon.inference.inputs import gather
    from osteon.inference.predictor import Predictor
    from osteon.inference.views import parse_views

    silence_quotations()
    console = Console(as_json=as_json)
    csv, heatmaps, dicom_out = (path and in_home(path) for path in (csv, heatmaps, dicom_out))
    _check_settings(pooling, csv, dicom_out)
    _check_folders(csv and csv.parent, heatmaps, dicom_out)
    predictor = Predictor(
        model,
        target=target,
        operating_point=point,
        error_rate=error_rate,
        runtime=runtime,  # type: ignore[arg-type]
        gate=gate,
        closer_look=closer_look,
    )
    views = parse_views(tta) if tta else ()
    cases = gather(inputs, study_by=study_by, region=region.lower())
    _spare_inputs(csv, inputs, cases)
    _check_region(console, region, predictor)
    answers = Answers(console, predictor, pooling, csv, heatmaps, documents=dicom_out)
    gc.enable()  # off while the process started, see osteon.__main__
    _answer(console, predictor, cases, answers, views, workers)
    console.refusals(answers.refusals)
    console.finish(answers.refusals)


def _answer(
    console: Console,
    predictor: Predictor,
    cases: Sequence[Case],
    answers: Answers,
    views: Sequence[View],
    workers: int | None,
) -> None:
    """Answer for all cases, with progress; what is finished is kept if that is broken off."""
    from osteon.progress import track

    console.note(f"{predictor.card.name} on {predictor.runtime.name}: {predictor.card.target} or not")
    each = predictor.predict_each(
        cases, heat_map=answers.needs_maps, views=views, workers=workers, processes=len(cases) >= MANY
    )
    with stopped_once(), answers, console.progress(), closing(each):
        for case, answer in zip(cases, track(each, "Reading", total=len(cases)), strict=True):
            answers.add(answer, case)


def _check_settings(pooling: str, csv: Path | None, dicom_out: Path | None) -> None:
    """Refuse before any work what would fail after it."""
    from osteon.errors import SettingsError, require

    if pooling not in ("mean", "max", "noisy_or"):
        raise SettingsError(f"there is no pooling {pooling!r}", where="--pooling", hint="mean, max or noisy_or")
    if str(csv) == "-":
        raise SettingsError("is no file to write", where="--csv -", hint="--json prints the answers")
    if csv is not None and csv.is_dir():
        raise SettingsError("is a folder, not a file to write", where=csv)
    if dicom_out is not None:
        require("highdicom", extra="dicom", feature="Writing DICOM documents")


def _check_folders(*folders: Path | None) -> None:
    """Refuse before any work folders that nothing can be written into; without one nothing is imported for it."""
    for folder in folders:
        if folder is not None:
            from osteon.run import check_output_folder

            check_output_folder(folder)


def _spare_inputs(csv: Path | None, inputs: Sequence[str], cases: Sequence[Case]) -> None:
    """Refuse to write the table over one of the files that were given."""
    from osteon.errors import SettingsError
    from osteon.inference.case import in_home

    if csv is None or not csv.is_file():
        return
    target = os.path.realpath(csv)
    pictures = (case.source for case in cases if isinstance(case.source, Path))
    alike = (path for path in pictures if path.name in (csv.name, os.path.basename(target)))  # noqa: PTH119
    if any(os.path.realpath(path) == target for path in (*map(in_home, inputs), *alike)):
        raise SettingsError("is one of the files given, and would be overwritten", where=csv, hint="another --csv")


def _check_region(console: Console, region: str, predictor: Predictor) -> None:
    from osteon.inference.case import region_name

    known = predictor.card.data.regions
    if region and not set(region_name(region).split("|")) <= set(known):
        console.warn(f"the model was not taught on {region}; it knows {', '.join(sorted(known)) or 'no region'}")
