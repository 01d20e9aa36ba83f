"""``osteon train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import (
    DamagedOption,
    NeighboursOption,
    OptionOption,
    ReaderOption,
    RegionOption,
    data_overrides,
    settings_overrides,
)
from osteon.errors import SettingsError

if TYPE_CHECKING:
    from osteon.config import RunSettings

SPLIT_HELP = "auto, grouped, given, paper or image (the last two leak)."


def train(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Folder or table of the data set.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; new or empty.", show_default="runs/MODEL-N")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on with the run in this folder.", show_default=False)
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="finetune, fracture, fracture_teacher, mura_densenet, paper, paper_short, strong, or a YAML file.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name; see osteon models list.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="Way of learning: network, or one that needs no --model; see osteon models list.",
            show_default="network",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="default|none|PATH",
            help="What the network starts from: its pretrained weights, random ones, or a file or run.",
            show_default="default",
        ),
    ] = None,
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    neighbours: NeighboursOption = None,
    damaged: DamagedOption = None,
    split: Annotated[str | None, typer.Option("--split", help=SPLIT_HELP, show_default="auto")] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Grouped cross-validation with K folds: K runs.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the data.", show_default="20")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything.", show_default="0")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its dotted key; may be given again."),
    ] = None,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="Audit the data for the report.")] = True,
    evaluate: Annotated[bool, typer.Option("--evaluate/--no-evaluate", help="Write metrics and report too.")] = True,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Train a network on a folder of radiographs; writes a run folder with predictions, metrics and report.

    Example: osteon train MURA-v1.1 --reader mura --region humerus --preset paper --out runs/humerus

    Example: osteon train FracAtlas --method adaboost --set method.options.rounds=8 --out runs/adaboost
    """
    console = Console(as_json=as_json)
    overrides = data_overrides(
        data, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged
    )
    named = {
        "model.name": model,
        "method.name": method,
        "model.weights": weights,
        "split.method": split,
        "split.folds": folds,
        "training.epochs": epochs,
        "seed": seed,
        "split.seed": seed,
    }
    overrides |= {key: value for key, value in named.items() if value is not None} | settings_overrides(settings)
    chosen = _settings(preset, overrides, resume=resume)
    if folds and "split.fold" not in overrides:
        _cross_validate(console, chosen, _out(out, resume, chosen), audit=audit, evaluate=evaluate)
        return
    result = _train(console, chosen, _out(out, resume, chosen), resume=resume is not None, audit=audit)
    values = result.as_dict()
    if evaluate and result.folder.predictions.is_file():
        values["metrics"] = _evaluate(console, result.folder.path)
    console.emit(values)
    console.refusals(result.refusals)
    console.finish(result.refusals)


def _settings(preset: str | None, overrides: dict[str, Any], *, resume: Path | None) -> RunSettings:
    from osteon.config import load_settings
    from osteon.run import RunFolder

    if resume is None:
        return load_settings(preset, overrides)
    if overrides or preset:
        raise SettingsError(
            f"a resumed run keeps its own settings, but {', '.join(overrides) or 'a preset'} was given",
            where="--resume",
        )
    return RunFolder.open(resume).settings()


def _out(out: Path | None, resume: Path | None, settings: RunSettings) -> Path:
    if resume is not None:
        return resume
    if out is not None:
        return out
    name = (settings.model if settings.method.name == "network" else settings.method).name.replace("/", "-")
    taken = [0]
    for folder in Path("runs").glob(f"{name}-*"):
        number = folder.name.rpartition("-")[2]
        taken.append(int(number) if number.isdigit() else 0)
    return Path("runs") / f"{name}-{max(taken) + 1}"


def _train(console: Console, settings: RunSettings, out: Path, *, resume: bool, audit: bool) -> Any:
    from osteon.errors import require

    require("lightning", extra="train", feature="Training")
    from osteon.training.callbacks import Progress
    from osteon.training.pipeline import train as run

    with console.progress():
        return run(settings, out, resume=resume, audit=audit, callbacks=[Progress(console.err)], note=console.note)


def _evaluate(console: Console, source: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    from osteon.cli.evaluate import evaluate_and_report

    return evaluate_and_report(console, source, overrides=overrides)


def _cross_validate(console: Console, settings: RunSettings, out: Path, *, audit: bool, evaluate: bool) -> None:
    """Train each fold that is not finished yet, then pool the test folds."""
    from osteon.training.crossvalidate import finished, fold_settings, pool

    names = []
    refusals: dict[str, Any] = {}
    for name, fold in fold_settings(settings):
        names.append(name)
        if finished(out / name, fold):
            console.note(f"{name}: finished before")
            continue
        console.note(f"{name}:")
        again = (out / name / "config.yaml").is_file()
        result = _train(console, fold, out / name, resume=again, audit=audit)
        refusals |= {item.path: item for item in result.refusals}
        if evaluate:
            _evaluate(console, out / name)
    pool(out, names)
    values: dict[str, Any] = {"run": str(out), "folds": names}
    if evaluate:
        as_the_folds = {f"evaluation.{key}": value for key, value in settings.evaluation.model_dump().items()}
        values["metrics"] = _evaluate(console, out / "predictions.csv", as_the_folds)
    console.emit(values)
    console.refusals(list(refusals.values()))
    console.finish(list(refusals.values()))
