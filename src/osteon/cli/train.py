"""``osteon train``."""

from __future__ import annotations

import contextlib
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
    data_path,
    output_path,
    with_settings,
)
from osteon.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from osteon.config import RunSettings
    from osteon.run import RunFolder

BESIDE_RESUME = frozenset({"resume", "audit", "evaluate", "as_json"})
SPLIT_HELP = "auto, grouped, given, paper or image (the last two leak)."


def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(parser=data_path, metavar="DATA", help="Folder or table of the data set.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            parser=output_path,
            metavar="DIR",
            help="Run folder; new or empty.",
            show_default="runs/MODEL-N",
        ),
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
            metavar="default|none|MODEL|PATH",
            help="What the network starts from: its pretrained weights, random ones, the package's model (fracture, "
            "fracture-fast), a model file, or a run; a model file brings its network and size along.",
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
    if resume is not None:
        chosen = _resumed(context, resume)
        _one_run(console, chosen, resume, resume=True, audit=audit, evaluate=evaluate)
        return
    overrides = data_overrides(
        data, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged
    )
    overrides = with_settings(overrides | _named(model, method, weights, split, folds, epochs, seed), settings)
    several = bool(folds) and "split.fold" not in overrides
    chosen = _settings(preset, overrides, out if several else None)
    do = _cross_validate if several else _one_run
    with _folder(out, chosen) as folder:
        do(console, chosen, folder, audit=audit, evaluate=evaluate)


def _named(
    model: str | None,
    method: str | None,
    weights: str | None,
    split: str | None,
    folds: int | None,
    epochs: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Return what options of their own say, as settings by dotted key."""
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
    return {key: value for key, value in named.items() if value is not None}


def _settings(preset: str | None, overrides: dict[str, Any], folds: Path | None) -> RunSettings:
    """Return the settings; what follows from a model file, the folder of folds may know, too."""
    from osteon.config import load_settings

    chosen = load_settings(preset, overrides)
    if chosen.model.weights in ("default", "none"):
        return chosen
    from osteon.errors import require

    require("lightning", extra="train", feature="Training")
    from osteon.training.crossvalidate import settled_folds
    from osteon.training.start import settled

    return settled_folds(folds, chosen) if folds else settled(chosen)


def _resumed(context: typer.Context, folder: Path) -> RunSettings:
    """Return the settings of a run that is gone on with.

    Raises:
        SettingsError: Another option was given, which would not be heeded, or the folder holds folds.
        InputError: There is no run in the folder.
    """
    from osteon.run import RunFolder

    given = [
        max(item.opts, key=len) if item.param_type_name == "option" else str(item.name).upper()
        for item in context.command.params
        if item.name and item.name not in BESIDE_RESUME and _is_given(context, item.name)
    ]
    if given:
        raise SettingsError(
            f"a resumed run keeps its own settings and folder, but {', '.join(given)} was given",
            where="--resume",
            hint="Leave it out, or train a new run: osteon train DATA --out FOLDER",
        )
    if not RunFolder(folder).config.is_file() and RunFolder(folder / "fold-0").config.is_file():
        hint = f"Give the command that began them again, with --folds K --out {folder}: it goes on where it stopped"
        raise SettingsError("the folder holds the folds of a cross-validation", where=folder, hint=hint)
    return RunFolder.open(folder).settings()


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextlib.contextmanager
def _folder(out: Path | None, settings: RunSettings) -> Iterator[Path]:
    """Give the folder that the user has named, else the next free ``runs/NAME-N``, taken so that no other gets it."""
    from osteon.training.together import helps, shared_folder

    if out is not None or helps():
        yield out or shared_folder(Path("runs"))
        return
    new = not Path("runs").exists()
    folder = _taken(settings)
    try:
        yield shared_folder(folder)
    finally:
        for path in [folder, Path("runs")][: 1 + new]:
            with contextlib.suppress(OSError):
                path.rmdir()  # where nothing came of it


def _taken(settings: RunSettings) -> Path:
    """Make the next free ``runs/NAME-N``.

    Raises:
        SettingsError: There is no room or no right to make it.
    """
    from osteon.run import unwritable

    name = (settings.model if settings.method.name == "network" else settings.method).name.replace("/", "-")
    numbers = [folder.name.rpartition("-")[2] for folder in Path("runs").glob(f"{name}-*")]
    number = max([0, *(int(text) for text in numbers if text.isdecimal())])
    try:
        Path("runs").mkdir(exist_ok=True)
        while True:
            number += 1
            folder = Path("runs") / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):  # another process has just taken it
                folder.mkdir()
                return folder
    except OSError as error:
        raise unwritable(error, "runs") from error


def _one_run(
    console: Console, settings: RunSettings, out: Path, *, resume: bool = False, audit: bool, evaluate: bool
) -> None:
    """Train one run and evaluate it."""
    result = _train(console, settings, out, resume=resume, audit=audit)
    values = result.as_dict()
    if evaluate and result.folder.predictions.is_file():
        values["metrics"] = _evaluate(console, result.folder.path)
    console.emit(values)
    console.refusals(result.refusals)
    console.finish(result.refusals)


def _train(
    console: Console, settings: RunSettings, out: Path, *, resume: bool, audit: bool, like: Sequence[RunFolder] = ()
) -> Any:
    from osteon.errors import require

    require("lightning", extra="train", feature="Training")
    from osteon.training.callbacks import Progress
    from osteon.training.pipeline import train as run

    callbacks = [Progress(console.err)]
    with console.progress():
        return run(settings, out, resume=resume, audit=audit, like=like, callbacks=callbacks, note=_note(console))


def _note(console: Console) -> Callable[[str], None]:
    """Return what says a line to the user; a process that only helps would repeat the first one's."""
    from osteon.training.together import helps

    return (lambda text: None) if helps() else console.note


def _evaluate(console: Console, source: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    from osteon.cli.evaluate import evaluate_and_report

    return evaluate_and_report(console, source, overrides=overrides)


def _cross_validate(console: Console, settings: RunSettings, out: Path, *, audit: bool, evaluate: bool) -> None:
    """Train each fold that is not finished yet, then pool the test folds."""
    from osteon.errors import require

    require("lightning", extra="train", feature="Training")
    from osteon.training.alone import alone
    from osteon.training.crossvalidate import pool, refusals

    with alone(out):
        folds = _folds(console, settings, out, audit=audit, evaluate=evaluate)
        names = [fold.path.name for fold in folds]
        pool(out, names)
        values: dict[str, Any] = {"run": str(out), "folds": names}
        if evaluate:
            as_the_folds = {f"evaluation.{key}": value for key, value in settings.evaluation.model_dump().items()}
            values["metrics"] = _evaluate(console, out / "predictions.csv", as_the_folds)
    console.emit(values)
    refused = refusals(folds)
    console.refusals(refused)
    console.finish(refused)


def _folds(console: Console, settings: RunSettings, out: Path, *, audit: bool, evaluate: bool) -> list[RunFolder]:
    """Train each fold; a process that only helps ends then."""
    from osteon.training.crossvalidate import begun_before, fold_settings
    from osteon.training.together import end_help

    like = begun_before(out, settings, _note(console))
    folds: list[RunFolder] = []
    for name, fold in fold_settings(settings):
        folds.append(_fold(console, fold, out / name, like, audit=audit, evaluate=evaluate))
        like = like or folds[:1]
    end_help()
    return folds


def _fold(
    console: Console, settings: RunSettings, out: Path, like: Sequence[RunFolder], *, audit: bool, evaluate: bool
) -> RunFolder:
    """Train and evaluate a fold, as far as that has not been done before."""
    from osteon.run import RunFolder
    from osteon.training.crossvalidate import finished
    from osteon.training.together import Helped, helps

    fold = RunFolder(out)
    done = finished(out, settings)
    if done:
        _note(console)(f"{out.name}: finished before")
    else:
        _note(console)(f"{out.name}:")
        again = fold.config.is_file()
        others = [run for run in like if run.path != out]
        with contextlib.suppress(Helped):  # it helps with the next fold, too
            _train(console, settings, out, resume=again, audit=audit, like=others)
    if evaluate and not helps() and not (done and fold.metrics.is_file() and fold.report.is_file()):
        _evaluate(console, out)
    return fold
