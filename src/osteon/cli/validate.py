"""``osteon validate``: a model file measured on labelled images of one's own, and recalibrated on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import (
    ByOption,
    DataArgument,
    NeighboursOption,
    OptionOption,
    PointOption,
    ReaderOption,
    RegionOption,
    data_settings,
    output_path,
)
from osteon.cli.predict import MANY
from osteon.cli.stopping import stopped_once

if TYPE_CHECKING:
    from osteon.evaluation.results import Scores
    from osteon.studies.validation import Validation

SHOWN = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "kappa": "kappa",
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "calibration error",
    "calibration_intercept": "calibration in the large",
    "calibration_slope": "calibration slope",
}
"""Figures on the terminal; the pages have all."""


def validate(
    data: DataArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            parser=output_path,
            metavar="PATH",
            help="Folder for the pages and tables; new, or of this command.",
        ),
    ] = Path("validation"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Model file, or one of the package's: fracture, fracture-int8, fracture-fast.", show_default="fracture"
        ),
    ] = None,
    local: Annotated[
        Path | None,
        typer.Option(
            "--recalibrate",
            parser=output_path,
            metavar="LOCAL.onnx",
            help="Write the model with probabilities, thresholds and conformal quantiles fitted on these images.",
            show_default=False,
        ),
    ] = None,
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    neighbours: NeighboursOption = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates/--no-duplicates", help="Join near-identical images into one group.")
    ] = True,
    point: PointOption = None,
    error_rate: Annotated[
        float | None,
        typer.Option(help="Error rate behind 'uncertain': smaller abstains more.", show_default="the model's"),
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    by: ByOption = None,
    workers: Annotated[int | None, typer.Option(help="Images at a time.", show_default="one a core", min=1)] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Hold back what is no radiograph.")] = True,
    closer_look: Annotated[
        bool, typer.Option("--closer-look/--one-look", help="Look closer where the model asks for it.")
    ] = True,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure a model file on labelled images, beside what its record promises; recalibrate it. Not a medical device.

    Example: osteon validate cohort.csv --option label=outcome --option positive=fracture --out validation

    Example: osteon validate cohort.csv --out validation --recalibrate local.onnx
    """
    from osteon.clinical.quiet_logs import silence_quotations
    from osteon.inference.case import in_home
    from osteon.run import check_output_folder
    from osteon.studies.validation import validate as run

    silence_quotations()
    console = Console(as_json=as_json)
    settings = data_settings(in_home(data), reader=reader, region=region, option=option, neighbours=neighbours)
    settings = settings.model_copy(update={"duplicates": duplicates})
    out, local = in_home(out), None if local is None else in_home(local)
    for folder in (out, *([] if local is None else [local.parent])):
        check_output_folder(folder)
    with stopped_once(), console.progress():
        found = run(
            settings,
            model,
            out=out,
            recalibrate_to=local,
            operating_point=point,
            error_rate=error_rate,
            runtime=runtime,  # type: ignore[arg-type]
            gate=gate,
            closer_look=closer_look,
            by=by or (),
            workers=workers,
            processes=MANY,
            note=console.note,
        )
    _show(console, found)
    console.emit(found.as_dict())
    console.refusals(found.answers.refusals)
    console.finish(found.answers.refusals)


def _show(console: Console, found: Validation) -> None:
    from osteon.inference.prediction import NOT_A_DEVICE

    card = found.asked.card
    rows = [
        [
            item.label,
            "–" if item.promised is None else item.promised.text(),
            item.measured.text(),
            item.measured.n,
            item.words,
        ]
        for item in found.promises
    ]
    console.table(f"{card.name}: promised and measured", ["", "promised", "measured here", "n", ""], rows)
    _show_figures(console, found)
    for text in found.warnings:
        console.warn(text)
    for text in found.sentences:
        console.note(f"- {text.rstrip('.')}.")
    for kind, path in (found.files or {}).items():
        console.note(f"{kind}: {path}")
    console.note(NOT_A_DEVICE)


def _show_figures(console: Console, found: Validation) -> None:
    """Show the figures at the operating point: of images, of studies where they differ, of always answering no."""
    from osteon.evaluation.tables import subgroup_tables

    image, study = found.evaluation.overall["image"], found.evaluation.overall["study"]
    columns = {f"{image.n:,} images, {image.positives:,} positive": image, "always negative": _always(image)}
    if study is not image:
        columns |= {f"{study.n:,} studies, {study.positives:,} positive": study, "always negative ": _always(study)}
    rows = [[label, *(item[name].text() for item in columns.values())] for name, label in SHOWN.items()]
    point = found.asked.point
    title = f"At the operating point {point.name}, from {point.threshold:.3f} on; {image.groups:,} groups"
    console.table(title, ["", *columns], rows)
    console.tables(subgroup_tables(found.evaluation))


def _always(scores: Scores) -> Scores:
    return scores.baselines["always_normal"]
