"""``osteon submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import output_path
from osteon.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARED = ("ablation", "backbones", "baselines", "location", "run", "synthetic", "systems")
"""Studies whose runs several processes divide among themselves."""


def submit(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND", help="After --: what follows osteon, e.g. train DATA --out RUN.", show_default=False
        ),
    ],
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=1000, help="So many jobs divide the runs of a study.")
    ] = 1,
    hours: Annotated[
        float, typer.Option("--hours", min=0.1, help="Time limit of a job; what needs longer goes on in the next.")
    ] = 12.0,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Processors of a job.")] = 4,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of a job.")] = 0,
    memory: Annotated[
        float | None,
        typer.Option("--memory", min=0.1, metavar="GB", help="Memory of a job.", show_default="the cluster's own"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Option of sbatch, e.g. partition=gpu; may be given again."),
    ] = None,
    logs: Annotated[
        Path, typer.Option("--logs", parser=output_path, metavar="DIR", help="Folder for what the jobs print.")
    ] = Path("jobs"),
    here: Annotated[bool, typer.Option("--here", help="Start it on this computer instead, to try it.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Hand a command of Osteon to a Slurm cluster; what runs out of time goes on by itself.

    Example: osteon submit --gpus 1 --hours 8 --option partition=gpu -- train data/FracAtlas --out runs/first

    Example: osteon submit --processes 8 --gpus 1 -- study systems data/FracAtlas --seeds 5 --out studies/systems
    """
    from osteon.studies.cluster import Command, Resources
    from osteon.studies.cluster import submit as hand_over

    names, values = _checked(command)
    if processes > 1 and not (names[0] == "study" and names[-1] in SHARED):
        hint = f"It is for studies whose runs can be divided: {', '.join(SHARED)}"
        raise SettingsError("this command cannot be divided among processes", where="--processes", hint=hint)
    run = _new_run(values) if names == ["train"] else None
    console = Console(as_json=as_json)
    jobs = hand_over(
        Command(command, run=run, cpus=cpus, shared=processes > 1),
        Resources(hours=hours, cpus=cpus, gpus=gpus, memory=memory, options=_options(option)),
        processes=processes,
        logs=logs,
        cluster="local" if here else "slurm",
    )
    console.table("Handed over", ["job", "its output"], [(item.job, str(item.output)) for item in jobs])
    if not here:
        console.note("squeue --me shows where they stand; scancel JOB ends one, and its work can be gone on with")
    console.emit({"command": command, "jobs": [item.as_dict() for item in jobs]})


def _checked(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of a command and of its parts, and its options by name.

    Raises:
        SettingsError: There is no such command, or it is not one to hand over.
        click.UsageError: The command would refuse them.
    """
    from typer.main import get_command

    from osteon.cli.app import COMMANDS, command_line

    names: list[str] = []
    words = list(arguments)
    if not words or words[0] not in COMMANDS or words[0] == "submit":
        raise SettingsError(
            f"{words[0] if words else 'nothing'} is no command that can be handed over",
            where="-- COMMAND",
            hint="Write what follows osteon, e.g. osteon submit -- train DATA --out RUN",
        )
    part: Any = get_command(command_line(words[0]))
    context = part.make_context("osteon", words)
    while hasattr(part, "resolve_command"):
        name, part, rest = part.resolve_command(context, [*context._protected_args, *context.args])
        names.append(name)
        context = part.make_context(name, rest, parent=context)
    return names, dict(context.params)


def _new_run(values: dict[str, Any]) -> Path | None:
    """Return the run folder that a training is to make; None of one that is gone on with, and of folds.

    Raises:
        SettingsError: It has no name by which it could be gone on with, or there is one already.
    """
    from osteon.run import RunFolder

    out: Path | None = values["out"]
    if values["resume"] is not None:
        return None
    if out is None:
        raise SettingsError("a training that may have to go on needs a name", where="--out", hint="Add --out RUN")
    if RunFolder(out).config.is_file():
        hint = f"Choose another --out, or hand over: train --resume {out}"
        raise SettingsError("the folder holds a run already", where=out, hint=hint)
    return None if values["folds"] else out


def _options(given: Sequence[str] | None) -> dict[str, str]:
    """Return options of ``sbatch`` by name.

    Raises:
        SettingsError: One has no name.
    """
    found: dict[str, str] = {}
    for item in given or ():
        key, sign, value = item.partition("=")
        key = key.strip().lstrip("-")
        if not key or not sign:
            raise SettingsError(f"{item!r} is not KEY=VALUE", where="--option", hint="For example partition=gpu")
        found[key.replace("-", "_")] = value
    return found
