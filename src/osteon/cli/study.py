"""``osteon study``: systems side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli import ensemble, explain, search
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
from osteon.errors import SettingsError, require

if TYPE_CHECKING:
    from osteon.studies.definition import StudyDefinition
    from osteon.studies.plan import PlannedRun
    from osteon.studies.study import Study

app = typer.Typer(help="Train and compare whole groups of systems under one protocol.", no_args_is_help=True)

NAMED = {
    "systems": "Compare every system of the paper.",
    "baselines": "Compare the paper's CNN with its baselines, also from one region to another.",
    "ablation": "Change one thing at a time in the paper's CNN.",
    "backbones": "Compare pretrained backbones.",
    "synthetic": "Find out whether synthetic radiographs help.",
    "location": "Find out whether supervising the location helps.",
}
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="The study's folder.", show_default="studies/NAME")]
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help="Preset or settings file that all systems start from.", show_default="the study's"),
]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", metavar="N|A,B,…", help="How many, or which.", show_default="the study's")
]
OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="SYSTEM", help="Only this one and the reference; repeatable.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, for all systems; repeatable.")
]
ReuseOption = Annotated[
    list[Path] | None,
    typer.Option("--reuse", metavar="FOLDER", help="Use finished runs with the same settings from here; repeatable."),
]
SortOption = Annotated[str, typer.Option("--sort", help="Column of the table: a figure, a cost, or name.")]
MetricOption = Annotated[str, typer.Option("--metric", help="Figure that says which system is best.")]
CostsOption = Annotated[bool, typer.Option("--costs/--no-costs", help="Measure latency and memory too.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only list the runs and estimate their time.")]


@app.command("list")
def list_studies(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the studies that come with Osteon.

    Example: osteon study list
    """
    from osteon.studies.definition import definitions, read_definition

    console = Console(as_json=as_json)
    found = {name: read_definition(name) for name in definitions()}
    rows = [[name, len(item.systems) + len(item.derived), item.question] for name, item in found.items()]
    console.table("Studies", ["name", "systems", "question"], rows)
    console.emit({"studies": {name: item.model_dump(mode="json") for name, item in found.items()}})


def _command(name: str, about: str) -> Callable[..., None]:
    def command(
        data: DataArgument,
        out: OutOption = None,
        preset: PresetOption = None,
        seeds: SeedsOption = None,
        only: OnlyOption = None,
        settings: SetOption = None,
        reuse: ReuseOption = None,
        sort: SortOption = "auc",
        metric: MetricOption = "auc",
        costs: CostsOption = True,
        dry_run: DryRunOption = False,
        reader: ReaderOption = None,
        region: RegionOption = None,
        option: OptionOption = None,
        neighbours: NeighboursOption = None,
        damaged: DamagedOption = None,
        as_json: Annotated[bool, JSON_OPTION] = False,
    ) -> None:
        overrides = data_overrides(
            data, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged
        )
        request = Request(name, out or Path("studies") / name, preset, seeds, only or [], settings or [], reuse or [])
        _run(Console(as_json=as_json), request, overrides, sort=sort, metric=metric, costs=costs, dry_run=dry_run)

    command.__doc__ = f"{about}\n\nExample: osteon study {name} data/FracAtlas --preset paper_short --seeds 2"
    return command


for _name, _about in NAMED.items():
    app.command(_name)(_command(_name, _about))
app.command("search")(search.search)
app.command("tta")(ensemble.tta)
app.command("ensembles")(ensemble.ensembles)
app.command("localisation")(explain.localisation)


@app.command("run")
def run_file(
    file: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A study in YAML.", show_default=False)],
    data: DataArgument,
    out: OutOption = None,
    preset: PresetOption = None,
    seeds: SeedsOption = None,
    only: OnlyOption = None,
    settings: SetOption = None,
    reuse: ReuseOption = None,
    sort: SortOption = "auc",
    metric: MetricOption = "auc",
    costs: CostsOption = True,
    dry_run: DryRunOption = False,
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    neighbours: NeighboursOption = None,
    damaged: DamagedOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Run a study of your own: systems that differ in some settings and nothing else.

    Example: osteon study run my-study.yaml data/FracAtlas --out studies/mine
    """
    name = Path(file).stem
    request = Request(file, out or Path("studies") / name, preset, seeds, only or [], settings or [], reuse or [])
    overrides = data_overrides(
        data, reader=reader, region=region, option=option, neighbours=neighbours, damaged=damaged
    )
    _run(Console(as_json=as_json), request, overrides, sort=sort, metric=metric, costs=costs, dry_run=dry_run)


class Request:
    """What was asked for on the command line."""

    def __init__(
        self,
        source: str,
        out: Path,
        preset: str | None,
        seeds: str | None,
        only: list[str],
        settings: list[str],
        reuse: list[Path],
    ) -> None:
        self.source, self.out, self.preset, self.seeds = source, out, preset, seeds
        self.only, self.settings, self.reuse = only, settings, reuse

    def definition(self) -> StudyDefinition:
        """Return the study as asked for.

        Raises:
            SettingsError: There is no such study or system, or the seeds cannot be read.
        """
        from osteon.studies.definition import read_definition

        study = read_definition(self.source)
        changes: dict[str, Any] = {}
        if self.preset:
            changes["base"] = self.preset
        if self.seeds:
            changes["seeds"] = _seeds(self.seeds)
        study = study.model_copy(update=changes)
        return study.only(self.only) if self.only else study


def _seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"{text!r} is neither a number nor a list of seeds", where="--seeds") from None
    if "," not in text:
        numbers = tuple(range(numbers[0]))
    if not numbers or min(numbers) < 0:
        raise SettingsError(f"{text!r} names no seeds", where="--seeds")
    if len(set(numbers)) < len(numbers):
        raise SettingsError(f"{text!r} names a seed twice", where="--seeds")
    return numbers


def _run(
    console: Console,
    request: Request,
    overrides: dict[str, Any],
    *,
    sort: str,
    metric: str,
    costs: bool,
    dry_run: bool,
) -> None:
    overrides = with_settings(overrides, request.settings)
    require("torch", extra="train", feature="A study")
    from osteon.evaluation.systems import check_metric
    from osteon.studies.plan import plan, twins
    from osteon.studies.system_cost import check_sort

    check_sort(sort)
    check_metric(metric)
    definition = request.definition()
    for name, other in (same := twins(definition, overrides)).items():
        console.note(f"{name} is {other} with these settings, and left out")
    definition = definition.only([item.name for item in definition.systems if item.name not in same])
    runs = plan(definition, request.out, overrides, request.reuse)
    if dry_run:
        _dry_run(console, runs)  # without Lightning, whose import takes seconds
        return
    study, files = _train(console, request, definition, runs, sort=sort, metric=metric, costs=costs)
    _show(console, study, files[-1], sort)
    console.emit({**study.as_dict(), "files": [str(path) for path in files]})
    if study.failed or study.left_out:
        raise typer.Exit(3)


def _train(
    console: Console,
    request: Request,
    definition: StudyDefinition,
    runs: list[PlannedRun],
    *,
    sort: str,
    metric: str,
    costs: bool,
) -> tuple[Study, list[Path]]:
    require("lightning", extra="train", feature="A study")
    from osteon.studies.report import write_study
    from osteon.studies.study import run_study
    from osteon.training.callbacks import Progress

    with console.progress():
        study = run_study(
            definition,
            runs,
            request.out,
            metric=metric,
            costs=costs,
            note=console.note,
            callbacks=lambda: [Progress(console.err)],
        )
        return study, write_study(study, sort)


def _dry_run(console: Console, runs: list[PlannedRun]) -> None:
    from osteon.studies.estimate import estimate_seconds

    busy = _busy()
    with console.progress():
        seconds = estimate_seconds(runs)
    rows = [
        [run.system, run.region, run.settings.seed, run.state, _minutes(time), str(run.folder.path)]
        for run, time in zip(runs, seconds, strict=True)
    ]
    console.table(f"{len(runs)} runs", ["system", "region", "seed", "state", "time", "folder"], rows)
    total = sum(time for time in seconds if not math.isnan(time))
    unknown = sum(math.isnan(time) for time in seconds)
    more = f", and {unknown} runs whose time is not known" if unknown else ""
    console.note(f"about {_minutes(total)} on this machine, if it does nothing else{more}")
    if busy and total:
        console.warn(f"{busy}, so these times are too long: estimate again when it is idle")
    values = [{**run.as_dict(), "seconds": time} for run, time in zip(runs, seconds, strict=True)]
    console.emit({"runs": values, "seconds": total, "unknown": unknown})


def _busy() -> str:
    """Return whether other processes keep the machine busy, in words; empty where not, or where it is not known."""
    try:
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
    except (AttributeError, OSError):  # Windows
        return ""
    return f"the machine is busy (load {load:.1f} on {cores} cores)" if load > cores / 2 else ""


def _minutes(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _show(console: Console, study: Study, page: Path, sort: str) -> None:
    from osteon.pages.html import number
    from osteon.studies.report import MARK, SHOWN
    from osteon.studies.system_cost import ordered

    rows = []
    for name in ordered(study.comparison, study.costs, sort):
        item = study.comparison.systems[name]
        mark = f" {MARK}" if study.comparison.like_best(name) else ""
        rows.append([name + mark, item.runs, *(item.estimates[metric].text() for metric in SHOWN)])
    always = study.comparison.always_normal
    rows.append(["always normal", "", *(number(always[metric]) for metric in SHOWN)])
    console.table(study.definition.title, ["system", "runs", *SHOWN], rows)
    console.note(f"{MARK} not distinguishable from the best ({study.comparison.best})")
    for text in study.comparison.warnings:
        console.warn(text)
    for failure in study.failed:
        console.warn(f"{failure.run.name}: {failure.reason}")
    for name, reason in study.left_out.items():
        console.warn(f"{name}: left out: {reason}")
    console.note(f"report   {page}")
