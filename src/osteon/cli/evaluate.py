"""``osteon evaluate`` and ``osteon compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console, jsonable
from osteon.cli.options import ByOption, with_settings
from osteon.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

    from osteon.config import EvaluationSettings
    from osteon.evaluation.comparison import Comparison
    from osteon.evaluation.results import Evaluation
    from osteon.evaluation.sources import Source

ThresholdOption = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="fixed|youden|sensitivity|NUMBER",
        help="How a positive call is decided, on validation rows only; a number fixes it.",
        show_default="youden",
    ),
]
PoolingOption = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        metavar="mean|max|median|noisy_or",
        help="From the views of a study to its probability.",
        show_default="mean",
    ),
]
ResamplesOption = Annotated[
    int | None, typer.Option("--resamples", help="Of the bootstrap, at least 100.", show_default="2000")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="evaluation.KEY=VALUE", help="Any setting of the evaluation; may be given again."),
]


def evaluate(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CSV", help="Run folder, or predictions of any origin.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to.", show_default="the run, or NAME-evaluation"),
    ] = None,
    threshold: ThresholdOption = None,
    pooling: PoolingOption = None,
    by: ByOption = None,
    resamples: ResamplesOption = None,
    settings: SetOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Which, if the CSV holds several.", show_default=False)
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html and figures too.")] = True,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Score predictions: every figure with its interval, thresholds from validation rows only, and a report.

    Example: osteon evaluate predictions.csv --threshold youden --out evaluation
    """
    console = Console(as_json=as_json)
    overrides = evaluation_overrides(threshold, pooling, resamples, settings, by)
    console.emit(evaluate_and_report(console, source, overrides=overrides, out=out, model=model, report=report))


def compare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|CSV...", help="Two or more runs or predictions.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for comparison.json, its page and the forest plot.")
    ] = Path("comparison"),
    level: Annotated[str, typer.Option("--level", metavar="image|study", help="What a case is.")] = "image",
    threshold: ThresholdOption = None,
    pooling: PoolingOption = None,
    resamples: ResamplesOption = None,
    settings: SetOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Test whether models differ on the same images: McNemar, AUC, intervals of every difference.

    Example: osteon compare runs/paper_cnn-1 runs/paper_cnn-2
    """
    from osteon.config import load_settings
    from osteon.evaluation.comparison import compare as run
    from osteon.evaluation.sources import read_models_with_thresholds

    console = Console(as_json=as_json)
    if level not in ("image", "study"):
        raise SettingsError(f"there is no level {level!r}", where="--level", hint="image or study")
    overrides = evaluation_overrides(threshold, pooling, resamples, settings)
    chosen = load_settings(None, overrides).evaluation
    models, own = read_models_with_thresholds(sources)
    thresholds = {} if _chooses_threshold(overrides) else own
    with console.progress():
        comparison = run(models, chosen, "study" if level == "study" else "image", thresholds=thresholds)
    files = _write_comparison(out, comparison)
    _show_comparison(console, comparison, files)
    console.emit({**comparison.as_dict(), "files": files})


def evaluate_and_report(
    console: Console,
    source: Path,
    *,
    overrides: dict[str, Any] | None = None,
    out: Path | None = None,
    model: str | None = None,
    report: bool = True,
) -> dict[str, Any]:
    """Evaluate a run folder or a CSV, write ``metrics.json``, figures and the report, and print the tables.

    Args:
        console: Where to print.
        source: Run folder or CSV.
        overrides: Settings by dotted key that replace the run's own (or the defaults).
        out: Folder to write to; None: the run's, or one beside the CSV.
        model: Which model's predictions, where the CSV holds several.
        report: Whether figures and report are written too.

    Returns:
        The evaluation as plain data without its curves, and the files written.

    Raises:
        InputError: The predictions are missing or break the contract.
        SettingsError: A setting is wrong or the folder cannot be written.
    """
    from osteon.config import load_settings
    from osteon.evaluation.evaluate import evaluate as run
    from osteon.evaluation.sources import Source
    from osteon.evaluation.subgroups import columns_of

    found = Source.open(source)
    _refuse_other_run(found, out)
    _refuse_validation(out or found.out)
    chosen = load_settings(found.config, overrides or {}).evaluation
    predictions = found.read(model, columns_of(chosen.by))
    settings = _settings(console, found, predictions, overrides or {})
    with console.progress():
        evaluation = run(predictions, settings)
    files = _write(found, out or found.out, evaluation, predictions, report=report)
    _show(console, evaluation, files)
    values = evaluation.as_dict()
    del values["curves"]
    return {**values, "files": files}


def evaluation_overrides(
    threshold: str | None,
    pooling: str | None,
    resamples: int | None,
    settings: list[str] | None,
    by: list[str] | None = None,
) -> dict[str, Any]:
    """Return what was given on the command line as overrides for :func:`osteon.config.load_settings`.

    Raises:
        SettingsError: A ``--set`` is not of the form ``evaluation.KEY=VALUE``, or says something else than an option.
    """
    for text in settings or []:
        if "=" not in text or not text.startswith("evaluation."):
            raise SettingsError(f"{text!r} is not of the form evaluation.KEY=VALUE", where="--set")
    named = {"evaluation.pooling": pooling, "evaluation.resamples": resamples, "evaluation.by": by or None}
    given = {key: value for key, value in named.items() if value is not None}
    return with_settings(_threshold(threshold) | given, settings)


def _threshold(text: str | None) -> dict[str, Any]:
    """Read a rule, or a number as the fixed threshold."""
    if text is None:
        return {}
    try:
        return {"evaluation.threshold": "fixed", "evaluation.fixed_threshold": float(text)}
    except ValueError:
        return {"evaluation.threshold": text}


def _settings(
    console: Console, source: Source, predictions: pd.DataFrame, overrides: dict[str, Any]
) -> EvaluationSettings:
    """Return how to score: as the run, by the predictions' own threshold if they have one, but for what was given."""
    from osteon.config import load_settings

    if not _chooses_threshold(overrides):
        models = predictions["model"].unique()
        own = source.threshold(str(models[0])) if len(models) == 1 else None
        if own is not None:
            console.note(f"threshold {own:g}: these predictions' own; --threshold chooses another")
            overrides = overrides | _threshold(str(own))
    return load_settings(source.config, overrides).evaluation


def _refuse_other_run(source: Source, out: Path | None) -> None:
    """Refuse to write over the evaluation of a run that the predictions are not of."""
    if out is None or not (out / "config.yaml").is_file():
        return
    if source.run is None or source.run.path.resolve() != out.resolve():
        raise SettingsError("the folder holds another run", where=out, hint="Choose another --out")


def _refuse_validation(out: Path) -> None:
    """Refuse to write over the figures of ``osteon validate``, which its page shows at the model's own threshold."""
    if (out / "validation.json").is_file():
        hint = "--out NAME; the threshold in its validation.json with --pooling max gives the same figures again"
        raise SettingsError("the folder holds a validation, whose figures would be overwritten", where=out, hint=hint)


def _chooses_threshold(overrides: dict[str, Any]) -> bool:
    return not {"evaluation.threshold", "evaluation.fixed_threshold"}.isdisjoint(overrides)


def _write(
    source: Source, out: Path, evaluation: Evaluation, predictions: pd.DataFrame, *, report: bool
) -> dict[str, str]:
    from osteon._version import __version__
    from osteon.run import RunFolder, write_json

    folder = RunFolder(out)
    values = {"osteon": __version__, "predictions": source.path.name, **evaluation.as_dict()}
    write_json(folder.metrics, jsonable(values))
    files = {"metrics": str(folder.metrics)}
    if report:
        from osteon.evaluation.report import write_report

        write_report(folder.report, evaluation, predictions, source.run)
        files |= {"report": str(folder.report), "figures": str(folder.figures)}
    return files


def _show(console: Console, evaluation: Evaluation, files: dict[str, str]) -> None:
    from osteon.evaluation.tables import tables

    console.tables(tables(evaluation))
    for warning in evaluation.warnings:
        console.warn(warning)
    _show_files(console, files)


def _show_files(console: Console, files: dict[str, str]) -> None:
    for name, path in files.items():
        console.note(f"{name}: {path}")


def _write_comparison(out: Path, comparison: Comparison) -> dict[str, str]:
    from osteon.evaluation.comparison_page import write_comparison
    from osteon.run import write_json

    target = out / "comparison.json"
    write_json(target, jsonable(comparison.as_dict()))
    page, *figures = write_comparison(out / "comparison.html", comparison)
    return {"comparison": str(target), "report": str(page), "figures": ", ".join(map(str, figures))}


def _show_comparison(console: Console, comparison: Comparison, files: dict[str, str]) -> None:
    from osteon.evaluation.tables import comparison_tables

    console.tables(comparison_tables(comparison))
    for warning in comparison.warnings:
        console.warn(warning)
    _show_files(console, files)
