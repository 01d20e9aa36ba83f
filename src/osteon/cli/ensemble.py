"""``osteon ensemble``, and the studies of ensembles and of test-time augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.evaluate import ResamplesOption, SetOption, ThresholdOption, evaluate_and_report, evaluation_overrides

if TYPE_CHECKING:
    from osteon.config import EvaluationSettings
    from osteon.evaluation.comparison import Comparison
    from osteon.inference.ensemble import How

SourcesArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN|CSV...", help="Two or more runs or predictions.", show_default=False)
]


def ensemble(
    sources: SourcesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for predictions.csv, ensemble.json and figures.")],
    how: Annotated[
        str, typer.Option("--how", metavar="mean|logits|rank|vote|stack", help="How the members are joined.")
    ] = "mean",
    name: Annotated[str | None, typer.Option("--name", help="Of the ensemble.", show_default="ensemble-HOW")] = None,
    threshold: ThresholdOption = None,
    resamples: ResamplesOption = None,
    settings: SetOption = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html and figures too.")] = True,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Join the predictions of several models of any kind, and evaluate what comes of it.

    Example: osteon ensemble runs/cnn-1 runs/cnn-2 runs/resnet --how stack -o runs/stack
    """
    from osteon.config import load_settings
    from osteon.inference.ensemble import check_how, make_ensemble
    from osteon.inference.members import read_members

    console = Console(as_json=as_json)
    overrides = evaluation_overrides(threshold, None, resamples, settings)
    check_how(how)
    chosen = load_settings(None, overrides).evaluation
    made = make_ensemble(read_members(sources), cast("How", how), chosen, name)
    made.write(out)
    for warning in made.warnings:
        console.warn(warning)
    values = evaluate_and_report(console, out, overrides=overrides, report=report)
    files = {"predictions": str(out / "predictions.csv"), "ensemble": str(out / "ensemble.json"), **values["files"]}
    console.emit({**values, "ensemble": made.as_dict(), "files": files})


def ensembles(
    sources: SourcesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")] = Path("studies/ensembles"),
    resamples: ResamplesOption = None,
    settings: SetOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Join models in five ways, and test each against the member that validation images call the best.

    Example: osteon study ensembles runs/cnn-1 runs/cnn-2 runs/resnet
    """
    from osteon.studies.ensembles import ensembles_study
    from osteon.studies.ensembles_page import sentences

    console = Console(as_json=as_json)
    chosen = _evaluation(None, resamples, settings)
    with console.progress():
        study = ensembles_study(sources, out, chosen)
    _show(console, study.comparison, study.valid_auc, [*sentences(study)], study.warnings)
    for name, reason in study.left_out.items():
        console.warn(f"{name}: left out: {reason}")
    _emit(console, study.as_dict(), out, "ensembles")
    if study.left_out:
        raise typer.Exit(3)


def tta(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The study's folder.", show_default="studies/tta-RUN")
    ] = None,
    views: Annotated[
        list[str] | None,
        typer.Option(
            "--views",
            metavar="VIEW,VIEW,…",
            help="Beside the original, e.g. horizontal_flip,rotate:10,zoom:1.1,brightness:0.9.",
            show_default="nine",
        ),
    ] = None,
    resamples: ResamplesOption = None,
    settings: SetOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Predict a run's images under several views: which of them help, by how much, and at what cost in time.

    Example: osteon study tta runs/cnn-1 --views horizontal_flip,rotate:10,rotate:-10
    """
    from osteon.errors import require
    from osteon.inference.views import NINE, parse_views

    require("torch", extra="train", feature="Predicting with a run")
    from osteon.studies.tta import tta_study
    from osteon.studies.tta_page import sentences

    console = Console(as_json=as_json)
    chosen_views = parse_views(views) if views else NINE
    out = out or Path("studies") / f"tta-{run.resolve().name}"
    chosen = _evaluation(run, resamples, settings)
    with console.progress():
        study = tta_study(run, out, views=chosen_views, settings=chosen)
    valid_auc = {name: system.valid_auc for name, system in study.systems.items()}
    _show(console, study.comparison, valid_auc, sentences(study), study.warnings)
    _emit(console, study.as_dict(), out, "tta")


def _evaluation(run: Path | None, resamples: int | None, settings: list[str] | None) -> EvaluationSettings:
    """Return how to score: as the run, or by default, but for what was given."""
    from osteon.config import load_settings
    from osteon.run import RunFolder

    source = None if run is None else RunFolder.open(run).config
    return load_settings(source, evaluation_overrides(None, None, resamples, settings)).evaluation


def _show(
    console: Console, comparison: Comparison, valid_auc: Any, sentences: list[str], warnings: tuple[str, ...]
) -> None:
    from osteon.studies.paired import TERMINAL_COLUMNS, terminal_rows

    title = f"{comparison.n} test images, {comparison.positives} positive, {comparison.groups} groups"
    console.table(title, TERMINAL_COLUMNS, terminal_rows(comparison, valid_auc))
    for sentence in sentences:
        console.note(sentence)
    for warning in warnings:
        console.warn(warning)


def _emit(console: Console, values: dict[str, Any], out: Path, name: str) -> None:
    files = {kind: str(out / f"{name}.{kind}") for kind in ("json", "csv", "html")}
    for kind, path in files.items():
        console.note(f"{kind}: {path}")
    console.emit({**values, "files": files})
