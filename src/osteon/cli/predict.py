"""``osteon predict``: answers for files and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console

if TYPE_CHECKING:
    from osteon.errors import Refusal
    from osteon.inference.case import Case
    from osteon.inference.prediction import Prediction, StudyPrediction
    from osteon.inference.predictor import Predictor

MANY = 200
"""So many images are worth starting processes for."""

COLUMNS = ("name", "study", "region", "probability", "positive", "verdict", "flags", "refusal")


def predict(
    inputs: Annotated[
        list[Path], typer.Argument(help="Pictures, DICOM files, folders, ZIP archives.", show_default=False)
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model file, or one of the package's: fracture, fracture-int8, fracture-fast.", show_default="fracture"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What is asked for; a model for another target is refused.", show_default=False)
    ] = None,
    point: Annotated[str | None, typer.Option(help="Operating point.", show_default="the model's first")] = None,
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
            help="What makes images one study: none, folder, name (up to the last _ or -), or column:NAME of a CSV "
            "table with the columns path and NAME given as input; DICOM files say their own."
        ),
    ] = "none",
    pooling: Annotated[str, typer.Option(help="Views to one probability: mean, max or noisy_or.")] = "mean",
    tta: Annotated[
        list[str] | None,
        typer.Option("--tta", metavar="VIEW", help="Average over further views, e.g. horizontal_flip or rotate:5."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a table too.", show_default=False)] = None,
    heatmaps: Annotated[
        Path | None, typer.Option(help="Folder for pictures with the map laid over.", show_default=False)
    ] = None,
    dicom_out: Annotated[
        Path | None,
        typer.Option(help="Folder for a DICOM report, overlay and outline of each DICOM study.", show_default=False),
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
    from osteon.inference.inputs import gather
    from osteon.inference.predictor import Predictor
    from osteon.inference.views import parse_views

    silence_quotations()
    console = Console(as_json=as_json)
    predictor = Predictor(
        model,
        target=target,
        operating_point=point,
        error_rate=error_rate,
        runtime=runtime,  # type: ignore[arg-type]
        gate=gate,
        closer_look=closer_look,
    )
    found = gather(inputs, study_by=study_by, region=region)
    writer = _Heatmaps(heatmaps) if heatmaps else None
    answers = _Answers(console, csv, writer, keep_maps=dicom_out is not None)
    views = parse_views(tta) if tta else ()
    console.note(f"{predictor.card.name} on {predictor.runtime.name}: {predictor.card.target} or not")
    with console.progress(), answers:
        from osteon.progress import track

        mapped = writer is not None or dicom_out is not None
        many = len(found.cases) >= MANY
        each = predictor.predict_each(found.cases, heat_map=mapped, views=views, workers=workers, processes=many)
        for case, answer in zip(found.cases, track(each, "Reading", total=len(found.cases)), strict=True):
            answers.add(answer, case)
    studies = _studies(answers.kept, pooling)
    answers.show(predictor, studies)
    refusals = [*found.refusals, *answers.refusals]
    if dicom_out is not None:
        refusals += _write_documents(console, studies, found.cases, predictor, dicom_out)
    console.refusals(refusals)
    console.finish(refusals)


def _studies(answers: Sequence[Prediction], pooling: str) -> list[StudyPrediction]:
    from osteon.errors import SettingsError
    from osteon.inference.prediction import pool_study

    if pooling not in ("mean", "max", "noisy_or"):
        raise SettingsError(f"there is no pooling {pooling!r}", where="--pooling", hint="mean, max or noisy_or")
    views: dict[str, list[Prediction]] = {}
    for answer in answers:
        views.setdefault(answer.study, []).append(answer)
    return [pool_study(study, of, pooling) for study, of in views.items()]  # type: ignore[arg-type]


def _write_documents(
    console: Console,
    studies: Sequence[StudyPrediction],
    cases: Sequence[Case],
    predictor: Predictor,
    folder: Path,
) -> list[Refusal]:
    """Write the DICOM documents of every study that has a DICOM image; return what could not be documented."""
    from osteon.clinical.documents import write_documents
    from osteon.clinical.sources import dataset_of
    from osteon.errors import InputError, Refusal

    by_name = {case.name: case for case in cases}
    refused = []
    for study in studies:
        sources = [dataset_of(by_name[view.name].source) for view in study.views]
        if not any(source is not None for source in sources):
            continue
        try:
            for path in write_documents(study, sources, predictor.card, folder):
                console.note(f"wrote {path}")
        except InputError as error:
            refused.append(Refusal(study.study, "no_documents", error.what))
    return refused


class _Answers:
    """Keeps answers, and writes them as they come, so that an interrupted run keeps what was finished."""

    def __init__(self, console: Console, table: Path | None, heatmaps: _Heatmaps | None, *, keep_maps: bool) -> None:
        self.kept: list[Prediction] = []
        self.refusals: list[Refusal] = []
        self._console = console
        self._path = table
        self._heatmaps = heatmaps
        self._keep_maps = keep_maps

    def __enter__(self) -> _Answers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._path is not None and (self.kept or error[0] is None):
            self._write(self._path)
        if error[0] is not None and self.kept:
            self._console.warn(f"stopped after {len(self.kept)} images; what was finished is kept")

    def add(self, answer: Prediction, case: Case) -> None:
        from dataclasses import replace

        if self._heatmaps is not None:
            self._heatmaps.write(answer, case)
        self.kept.append(answer if self._keep_maps else replace(answer, heat_map=None))
        if answer.refusal is not None:
            self.refusals.append(answer.refusal)

    def show(self, predictor: Predictor, studies: Sequence[StudyPrediction]) -> None:
        from osteon.inference.prediction import NOT_A_DEVICE, verdict_words

        target = predictor.card.target
        rows = [
            [
                Path(item.name).name,
                "–" if item.probability is None else f"{item.probability:.3f}",
                verdict_words(item.verdict, target),
                "; ".join(flag.detail for flag in item.flags) or (item.refusal.detail if item.refusal else ""),
            ]
            for item in self.kept
        ]
        self._console.table(f"{target.capitalize()} or not", ["image", "probability", "verdict", "remarks"], rows)
        several = [study for study in studies if len(study.views) > 1]
        if several:
            self._console.table(
                "Studies",
                ["study", "views", "probability", "verdict"],
                [
                    [item.study, len(item.views), _shown(item.probability), verdict_words(item.verdict, target)]
                    for item in several
                ],
            )
        self._console.note(NOT_A_DEVICE)
        self._console.emit(
            {
                "model": predictor.card.name,
                "target": target,
                "runtime": predictor.runtime.name,
                "operating_point": predictor.operating_point.name,
                "images": [item.as_dict() for item in self.kept],
                "studies": [item.as_dict() | {"views": [view.name for view in item.views]} for item in studies],
                "notice": NOT_A_DEVICE,
            }
        )

    def _write(self, path: Path) -> None:
        import csv
        import io

        from osteon.run import write_text

        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(_row(item) for item in self.kept)
        write_text(path, text.getvalue())


def _shown(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.3f}"


def _row(item: Prediction) -> list[Any]:
    probability = "" if item.probability is None else f"{item.probability:.6g}"
    positive = "" if item.positive is None else int(item.positive)
    flags = " ".join(flag.code for flag in item.flags)
    refusal = "" if item.refusal is None else item.refusal.detail
    return [item.name, item.study, item.region, probability, positive, item.verdict, flags, refusal]


class _Heatmaps:
    """Writes a picture for each answer, under a name of its own."""

    def __init__(self, folder: Path) -> None:
        from osteon.run import unwritable

        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(error, folder) from None

    def write(self, answer: Prediction, case: Case) -> None:
        from osteon.inference.case import decode
        from osteon.run import atomic_path

        if answer.heat_map is None:
            return
        pixels = decode(case).image.eight_bit()
        with atomic_path(self.folder / next(self._names(Path(answer.name)))) as temporary:
            answer.heat_map.overlay(pixels).save(temporary, format="PNG")

    def _names(self, path: Path) -> Iterator[str]:
        for number in range(len(self._taken) + 1):
            name = f"{path.stem}{f'-{number + 1}' if number else ''}.png"
            if name not in self._taken:
                self._taken.add(name)
                yield name
