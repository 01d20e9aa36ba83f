"""``osteon demo``: the whole main job on synthetic radiographs."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.stopping import REFUSED
from osteon.errors import OsteonError, SettingsError, require

BATCH, SIZE = 32, 128
REGIONS = "humerus,forearm"
START, IMAGES, EPOCHS = "fracture-fast", 600, 2
"""Model of the package that the demo trains on, with how many images and for how many epochs."""

SCRATCH_IMAGES, SCRATCH_EPOCHS = 800, 12
"""Of the paper's network from random weights: fewer do not teach it the phantoms."""

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
    images: Annotated[
        int | None,
        typer.Option("--images", min=100, help=f"Number of synthetic images: {IMAGES}, from scratch {SCRATCH_IMAGES}."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help=f"Passes over the training images: {EPOCHS}, from scratch {SCRATCH_EPOCHS}."
        ),
    ] = None,
    scratch: Annotated[
        bool,
        typer.Option("--scratch", help="Train the paper's network from random weights: some minutes instead of one."),
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Run the main job on synthetic radiographs: make, audit, explore, train, evaluate, export, predict.

    Example: osteon demo --out demo
    """
    require("lightning", extra="train", feature="Training")
    console = Console(as_json=as_json)
    started = time.perf_counter()
    _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("osteon demo writes this folder and replaces it.\n", encoding="utf-8")
    for command in commands(out, seed=seed, images=images, epochs=epochs, scratch=scratch):
        console.note(f"\n$ osteon {shlex.join(command)}")
        _run(command, quiet=as_json)
    values = _result(out, time.perf_counter() - started)
    console.emit(values)
    if not as_json:
        _show(console, values)


def commands(
    out: Path, *, seed: int, images: int | None = None, epochs: int | None = None, scratch: bool = False
) -> Iterator[list[str]]:
    """Yield the commands that the demo runs, as a user would type them after ``osteon``.

    The last reads a patient of the test images, so it is known only when the commands before it have run.
    """
    phantoms, run, model = out / "phantoms", str(out / "run"), str(out / "model.onnx")
    usual = (SCRATCH_IMAGES, SCRATCH_EPOCHS) if scratch else (IMAGES, EPOCHS)
    made = {"images": images or usual[0], "size": SIZE, "seed": seed, "regions": REGIONS, "difficulty": "easy"}
    options = [text for key, value in made.items() for text in (f"--{key}", str(value))]
    yield ["data", "phantoms", str(phantoms), *options]
    yield ["data", "audit", str(phantoms), "--out", str(out / "audit")]
    yield ["data", "explore", str(phantoms), "--out", str(out / "explore")]
    settings = {"store.size": SIZE, "augment.rotation": 15, "training.batch_size": BATCH, "seed": seed}
    settings["training.epochs"] = epochs or usual[1]
    start = ["--set", "model.options.pools=early"] if scratch else ["--weights", START]
    chosen = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    yield ["train", str(phantoms), "--out", run, *start, *chosen, "--no-evaluate"]
    yield ["evaluate", run]
    yield ["export", run, "--out", model]
    yield ["predict", _patient(phantoms), "--model", model, "--heatmaps", str(out / "heatmaps")]


def _patient(phantoms: Path) -> str:
    """Return the folder of the first test patient with a broken bone, the first of all if there is none."""
    studies = sorted(phantoms.glob("valid/*/*/*"))
    return str(next((study for study in studies if study.name.endswith("positive")), studies[0]).parent)


def _run(command: list[str], *, quiet: bool) -> None:
    """Run one command in this process; a failure ends the demo, a phantom that the gate refuses does not."""
    from osteon.cli.app import command_line

    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        arguments = [*command, "--json"] if quiet else command
        code = command_line(command[0])(args=arguments, prog_name="osteon", standalone_mode=False)
    if code and (command[0], code) != ("predict", REFUSED):
        raise DemoError(f"ended with exit code {code}", where=f"osteon {command[0]}")


class DemoError(OsteonError):
    """A command of the demo did not finish."""


def _clear(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    import shutil

    if not out.exists():
        return
    parts = {"phantoms", "audit", "explore", "run", "model.onnx", "model.md", "model.html", "heatmaps", MARK}
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
        "model": str(out / "model.onnx"),
        "heatmaps": str(out / "heatmaps"),
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
    for name in ("report", "audit", "explore", "model", "heatmaps"):
        console.note(f"{name:8s} {values[name]}")
    console.note(f"{values['seconds']:.0f} seconds in all.\n")
    for line in NEXT:
        console.note(line)
