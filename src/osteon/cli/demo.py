"""``osteon demo``: the whole main job on synthetic radiographs."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.errors import OsteonError, SettingsError, require

IMAGES, EPOCHS, BATCH, SIZE = 800, 12, 32, 128
REGIONS = "humerus,forearm"
MARK = ".osteon-demo"
"""File by which a folder is known for a demo's, which may be replaced."""

NEXT = (
    "These radiographs are synthetic: the figures show that the software works, not how well bones are read.",
    "Next, on real ones:",
    "  osteon data fetch mura           how to get MURA, which its users must download themselves",
    "  osteon train MURA-v1.1 --reader mura --region humerus --preset paper --out runs/humerus",
    "  osteon data fetch fracatlas --to data",
    "  osteon train data/FracAtlas --preset strong --out runs/fracatlas",
    "Research use only. Not a medical device.",
)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; a demo there is replaced.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the phantoms and the training.")] = 0,
    images: Annotated[int, typer.Option("--images", min=100, help="Number of synthetic images.")] = IMAGES,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images.")] = EPOCHS,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Run the main job on synthetic radiographs: make, audit, explore, train, evaluate, report.

    Example: osteon demo --out demo
    """
    require("lightning", extra="train", feature="Training")
    console = Console(as_json=as_json)
    started = time.perf_counter()
    _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("osteon demo writes this folder and replaces it.\n", encoding="utf-8")
    for command in commands(out, seed=seed, images=images, epochs=epochs):
        console.note(f"\n$ osteon {shlex.join(command)}")
        _run(command, quiet=as_json)
    values = _result(out, time.perf_counter() - started)
    console.emit(values)
    if not as_json:
        _show(console, values)


def commands(out: Path, *, seed: int, images: int, epochs: int) -> list[list[str]]:
    """Return the commands that the demo runs, as a user would type them after ``osteon``."""
    phantoms, run = str(out / "phantoms"), str(out / "run")
    settings = {
        "store.size": SIZE,
        "model.options.pools": "early",
        "augment.rotation": 15,
        "training.epochs": epochs,
        "training.batch_size": BATCH,
        "seed": seed,
    }
    chosen = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    return [
        [
            "data",
            "phantoms",
            phantoms,
            "--images",
            str(images),
            "--size",
            str(SIZE),
            "--seed",
            str(seed),
            "--regions",
            REGIONS,
            "--difficulty",
            "easy",
        ],
        ["data", "audit", phantoms, "--out", str(out / "audit")],
        ["data", "explore", phantoms, "--out", str(out / "explore")],
        ["train", phantoms, "--out", run, *chosen, "--no-evaluate"],
        ["evaluate", run],
    ]


def _run(command: list[str], *, quiet: bool) -> None:
    """Run one command in this process; a failure ends the demo."""
    from osteon.cli.app import command_line

    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        arguments = [*command, "--json"] if quiet else command
        code = command_line(command[0])(args=arguments, prog_name="osteon", standalone_mode=False)
    if code:
        raise DemoError(f"ended with exit code {code}", where=f"osteon {command[0]}")


class DemoError(OsteonError):
    """A command of the demo did not finish."""


def _clear(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    import shutil

    if not out.exists():
        return
    parts = {"phantoms", "audit", "explore", "run", MARK}
    found = {item.name for item in out.iterdir()} if out.is_dir() else {""}
    if found and (MARK not in found or not found <= parts):
        raise SettingsError("the folder holds something else than a demo", where=out, hint="Choose another --out")
    shutil.rmtree(out)


def _result(out: Path, seconds: float) -> dict[str, Any]:
    metrics = json.loads((out / "run" / "metrics.json").read_text(encoding="utf-8"))
    return {
        "synthetic": True,
        "seconds": round(seconds, 1),
        "report": str(out / "run" / "report.html"),
        "audit": str(out / "audit" / "audit.html"),
        "explore": str(out / "explore" / "explore.html"),
        "metrics": metrics,
    }


def headline(metrics: dict[str, Any]) -> list[str]:
    """Say the main figures in words, beside the rule that looks at nothing."""
    scores = metrics["overall"]["image"]
    beside = scores["baselines"]["always_normal"]["metrics"]
    lines = [f"{scores['n']} test images in {scores['groups']} groups, {scores['positives']} with a broken bone:"]
    for name, label in (("auc", "AUC"), ("accuracy", "accuracy"), ("kappa", "Cohen's kappa")):
        found, other = scores["metrics"][name], beside[name]["value"]
        bounds = f"{_shown(found['low'])} to {_shown(found['high'])}"
        span = f"{metrics['confidence']:.0%} interval {bounds if found['low'] is not None else 'undefined'}"
        lines.append(f"  {label:14s} {_shown(found['value'])}  ({span}; always normal: {_shown(other)})")
    return lines


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _show(console: Console, values: dict[str, Any]) -> None:
    console.note("")
    for line in headline(values["metrics"]):
        console.note(line)
    console.note(f"report   {values['report']}\naudit    {values['audit']}\nexplore  {values['explore']}")
    console.note(f"{values['seconds']:.0f} seconds in all.\n")
    for line in NEXT:
        console.note(line)
