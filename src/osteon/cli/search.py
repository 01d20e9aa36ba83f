"""``osteon study search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import (
    DamagedOption,
    DataArgument,
    NeighboursOption,
    OptionOption,
    ReaderOption,
    RegionOption,
    data_overrides,
    with_settings,
)
from osteon.errors import SettingsError

if TYPE_CHECKING:
    from osteon.config import RunSettings
    from osteon.studies.search import SearchSettings
    from osteon.studies.search_results import SearchResult

MINUTE = 60


def search(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The search's folder; an earlier one is gone on with.")
    ] = Path("studies/search"),
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space", help="architecture, recipe or a YAML file; several are joined.", show_default="architecture"
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trained to their end or broken off, in all.")] = 20,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective", help="auc alone, or auc and multiply_adds or latency.", show_default="auc, multiply_adds"
        ),
    ] = None,
    max_multiply_adds: Annotated[
        float | None, typer.Option("--max-multiply-adds", help="Of one image; dearer networks are refused.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="MINUTES", help="Begin no trial after so long.")
    ] = None,
    pruner: Annotated[
        str, typer.Option("--pruner", help="What breaks trials off: median, halving or none.")
    ] = "median",
    warmup: Annotated[int, typer.Option("--warmup", min=1, help="Epochs before a trial may be broken off.")] = 3,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe, nsga2 or random.")] = "tpe",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampler; trials keep --set seed=N.")] = 0,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Train the settings as they are, too.")
    ] = True,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Preset or settings file that all trials start from.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, for all trials; repeatable.")
    ] = None,
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    neighbours: NeighboursOption = None,
    damaged: DamagedOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Search for better networks and recipes on validation data; writes search.html, best.yaml and the front.

    Example: osteon study search data/FracAtlas --preset strong --trials 30 --max-multiply-adds 5e8 --out studies/search
    """
    console = Console(as_json=as_json)
    overrides = with_settings(
        data_overrides(data, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged),
        settings,
    )
    _require_extras()
    base = _base(preset, overrides)
    limits = {"warmup": warmup, "max_multiply_adds": max_multiply_adds, "reference": reference, "seed": seed}
    chosen = _search_settings(space, objective, sampler=sampler, pruner=pruner, **limits)
    result = _run(console, base, chosen, out, trials, None if timeout is None else timeout * MINUTE)
    _show(console, result)
    console.emit({"search": str(out), **result.as_dict()})
    if result.ends_in_failures:
        raise typer.Exit(3)


def _require_extras() -> None:
    from osteon.errors import require

    require("optuna", extra="tune", feature="Searching")
    require("lightning", extra="train", feature="Training")


def _base(preset: str | None, overrides: dict[str, Any]) -> RunSettings:
    from osteon.config import load_settings

    return load_settings(preset, overrides)


def _search_settings(spaces: list[str] | None, objectives: list[str] | None, **values: Any) -> SearchSettings:
    """Return what is searched, by the defaults where nothing is given.

    Raises:
        SettingsError: An option's value is not possible.
    """
    from pydantic import ValidationError

    from osteon.studies.search import SearchSettings
    from osteon.studies.search_space import load_space

    space, first = load_space(spaces or ["architecture"])
    try:
        return SearchSettings(space=space, first=first, objectives=objectives or ["auc", "multiply_adds"], **values)
    except ValidationError as error:
        item = error.errors()[0]
        name = str(item["loc"][0])
        raise SettingsError(
            item["msg"], where={"objectives": "--objective"}.get(name, f"--{name.replace('_', '-')}")
        ) from None


def _run(
    console: Console, base: RunSettings, chosen: SearchSettings, out: Path, trials: int, seconds: float | None
) -> SearchResult:
    from osteon.studies.search import Budget, search
    from osteon.training.callbacks import Progress

    with console.progress():
        return search(base, chosen, out, Budget(trials, seconds), callbacks=[Progress(console.err)], note=console.note)


def _show(console: Console, result: SearchResult) -> None:
    """Print the front with its test figures, and where the rest is."""
    rows = []
    for item in ([result.reference] if result.reference else []) + [i for i in result.front if not i.reference]:
        test = result.paired_test(item)
        score = result.test.scores[item.name]["auc"].value if result.test and item.name in result.test.scores else None
        cells = [item.name, item.multiply_adds / 1e6, item.auc, score]
        rows.append(
            [
                *cells,
                *([None] * 3 if test is None else [test.difference.value, test.difference.low, test.difference.high]),
            ]
        )
    columns = ["trial", "multiply-adds, M", "valid AUC", "test AUC", "minus reference", "low", "high"]
    console.table("The front", columns, rows)
    if result.test is None:
        console.note(f"no test figures: {result.test_missing}")
    console.note(f"page: {result.out / 'search.html'}")
    if result.best is not None:
        console.note(f"osteon train DATA --preset {result.out / 'best.yaml'} trains the best one again")
