"""``osteon explain`` and ``osteon study localisation``: where did a run look, and is it right?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console, jsonable
from osteon.errors import SettingsError, require

if TYPE_CHECKING:
    from osteon.studies.localisation import LocalisationStudy

SHOWN = ("pointing", "pointing_near", "energy", "iou")
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn at random.")]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=100, help="Of the bootstrap.")]
PatchOption = Annotated[
    int | None,
    typer.Option("--patch", min=1, help="Occlusion: side of the patch.", show_default="a fifth of the image"),
]
StrideOption = Annotated[
    int | None, typer.Option("--stride", min=1, help="Occlusion: from patch to patch.", show_default="half a patch")
]
FillOption = Annotated[
    str, typer.Option("--fill", metavar="mean|GREY", help="Occlusion: grey value of the patch, 0-255.")
]


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="localiser|cam|gradcam|gradcam++|occlusion",
            help="Way to explain.",
            show_default="the first that can explain the run",
        ),
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option("--images", metavar="ID,ID…", help="These images; may be given again.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="train|valid|test", help="Else images of this split.")
    ] = "test",
    most: Annotated[int, typer.Option("--most", min=0, help="At most so many, drawn at random; 0: all.")] = 24,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder.", show_default="RUN/explained/METHOD")
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores/--no-scores", help="Score the maps against masks, if the test images have any.")
    ] = True,
    resamples: ResamplesOption = 2000,
    patch: PatchOption = None,
    stride: StrideOption = None,
    fill: FillOption = "mean",
    seed: SeedOption = 0,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show where a run looked: heat maps over images, and scores against masks beside the centre of the picture.

    Example: osteon explain runs/paper_cnn-1 --method cam --split test
    """
    require("lightning", extra="train", feature="Explaining a network")
    from osteon.run import RunFolder, check_output_folder
    from osteon.studies.explained import explain_images

    console = Console(as_json=as_json)
    options = _options(patch, stride, fill)
    name = _method(run, method)
    _refuse_options(name, options)
    folder = out or RunFolder.open(run).path / "explained" / name
    check_output_folder(folder)
    wanted = [part.strip() for text in images or [] for part in text.split(",") if part.strip()]
    with console.progress():
        drawn = explain_images(run, folder, name, images=wanted, split=split, most=most, seed=seed, options=options)
    values = drawn.as_dict()
    _show_images(console, values)
    if scores and not wanted:
        values["scores"] = _scores(console, run, name, folder, options, (resamples, seed))
    console.note(f"pictures {folder}")
    console.emit({**values, "out": str(folder)})
    console.refusals(drawn.refusals)
    console.finish(drawn.refusals)


def localisation(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="localiser|cam|gradcam|gradcam++|occlusion",
            help="Way to explain; may be given again.",
            show_default="all that can, but occlusion",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page, tables and figures.")] = Path(
        "localisation"
    ),
    examples: Annotated[int, typer.Option("--examples", min=0, help="Images shown, drawn at random.")] = 8,
    resamples: ResamplesOption = 2000,
    patch: PatchOption = None,
    stride: StrideOption = None,
    fill: FillOption = "mean",
    seed: SeedOption = 0,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Score where runs looked against masks, side by side with maps that look at no image.

    Example: osteon study localisation runs/paper_cnn-1 runs/hybrid-1 --method cam --method localiser
    """
    require("lightning", extra="train", feature="Explaining a network")
    from osteon.evaluation.location_scores import Sampling
    from osteon.studies.localisation import localisation_study
    from osteon.studies.localisation_page import write_localisation

    console = Console(as_json=as_json)
    with console.progress():
        study = localisation_study(
            runs,
            method,
            sampling=Sampling(resamples=resamples, seed=seed),
            examples=examples,
            options={"occlusion": _options(patch, stride, fill)},
        )
    files = write_localisation(out, study)
    _show_scores(console, study)
    console.note(f"page     {files[-1]}")
    console.emit({**jsonable(study.as_dict()), "files": [str(path) for path in files]})
    console.refusals(study.refusals)
    console.finish(study.refusals)


def _method(run: Path, method: str | None) -> str:
    """Return the way to explain: the one asked for, else the first that can explain the run."""
    from osteon.models.explain import explanations_of, find_explanation
    from osteon.run import RunFolder
    from osteon.training.method import load_run

    return find_explanation(method).name if method else explanations_of(load_run(RunFolder.open(run)))[0]


def _options(patch: int | None, stride: int | None, fill: str) -> dict[str, Any]:
    """Return the options of occlusion that were given."""
    options: dict[str, Any] = {"patch": patch, "stride": stride}
    if fill != "mean":
        try:
            options["fill"] = float(fill)
        except ValueError:
            raise SettingsError(f"{fill!r} is neither a grey value of 0-255 nor 'mean'", where="--fill") from None
    return {key: value for key, value in options.items() if value is not None}


def _refuse_options(method: str, options: dict[str, Any]) -> None:
    if options and method != "occlusion":
        given = ", ".join(f"--{name}" for name in options)
        raise SettingsError(f"{given}: only --method occlusion takes it, not {method}")


def _scores(
    console: Console, run: Path, method: str, folder: Path, options: dict[str, Any], drawing: tuple[int, int]
) -> dict[str, Any] | None:
    """Score the maps of all test images with a mask; None where there is none, which is said."""
    from osteon.errors import InputError
    from osteon.evaluation.location_scores import Sampling
    from osteon.studies.localisation import localisation_study
    from osteon.studies.localisation_page import write_localisation

    try:
        with console.progress():
            study = localisation_study(
                [run], [method], sampling=Sampling(resamples=drawing[0], seed=drawing[1]), options={method: options}
            )
    except InputError as error:
        console.note(f"no scores: {error.what}")
        return None
    page = write_localisation(folder, study)[-1]
    _show_scores(console, study)
    console.note(f"page     {page}")
    values: dict[str, Any] = jsonable(study.as_dict())
    return values


def _show_images(console: Console, values: dict[str, Any]) -> None:
    images = values["images"]
    if len(images) < values["drawn_from"]:
        console.note(f"{len(images)} of {values['drawn_from']} images, drawn at random (--most 0 for all)")
    columns = ["image_id", "label", "probability", "pointing_near", "energy"]
    rows = [[item[name] for name in columns] for item in images]
    console.table(f"{values['method']}: where {Path(values['run']).name} looked", columns, rows)


def _show_scores(console: Console, study: LocalisationStudy) -> None:
    from osteon.evaluation.localisation import FIGURES
    from osteon.studies.localisation_page import sentences

    rows = [
        [item.name, *(item.overall.figures[name].text() for name in SHOWN)] for item in (*study.systems, *study.priors)
    ]
    level = study.systems[0].overall.chance
    rows.append(["chance", *(f"{level[name]:.3f}" for name in SHOWN)])
    title = f"{len(study.images)} test images with a mask, {study.groups} groups"
    console.table(title, ["system", *(FIGURES[name] for name in SHOWN)], rows)
    for text in sentences(study):
        console.note(text)
    for warning in study.warnings:
        console.warn(warning)
