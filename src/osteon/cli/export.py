"""``osteon export``: from a run to one model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of a network.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")] = Path("model.onnx"),
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a cross-validation of the same settings (osteon train --folds), to calibrate and measure "
            "with; else the run's validation and test images are taken.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 (half the size) or int8 (three tenths).")] = "fp32",
    layout: Annotated[
        str, typer.Option(help="image: one picture of any size; squares: batches of squares of the network's size.")
    ] = "image",
    point: Annotated[str, typer.Option(help="Default operating point: kappa, youden or sensitive.")] = "kappa",
    name: Annotated[str | None, typer.Option(help="What the model is called.", show_default="the run's")] = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--note", help="A further sentence for the card; may be given again.", show_default=False),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card/--no-card", help="Write a model card (Markdown) and a page with figures too.")
    ] = True,
    closer_side: Annotated[
        float | None,
        typer.Option(
            "--closer-look",
            metavar="SIDE",
            help="Have the predictor look closer at pictures that are not clearly negative: side of the part that it "
            "sees, as a share of the longer side, e.g. 0.6. The network must draw a map.",
            show_default="one look",
        ),
    ] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Fit the input gate on all images.")] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Write even if a smaller precision loses too much, or is not shown not to.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a trained network as one ONNX file that takes raw grey pixels and gives a calibrated answer and a map.

    Example: osteon export runs/wrist -o wrist.onnx

    Example: osteon export runs/final --calibration runs/folds --precision int8 -o fracture.int8.onnx
    """
    _check(out, precision, layout)
    from osteon.export.export import export_run

    console = Console(as_json=as_json)
    with console.progress():
        made = export_run(
            run,
            out,
            calibration=calibration,
            precision=precision,  # type: ignore[arg-type]
            layout=layout,
            name=name,
            point=point,
            notes=tuple(notes or ()),
            force=force,
            closer_side=closer_side,
            fit_gate=_fit_gate if gate else None,
            note=console.note,
        )
    files = {"model": str(made.path)}
    if card:
        from osteon.export.card_page import write_card

        files |= {kind: str(path) for kind, path in write_card(made).items()}
    _show(console, made, files)
    console.emit({"files": files, "card": made.card.model_dump(mode="json", exclude={"gate"})})


def _check(out: Path, precision: str, layout: str) -> None:
    """Refuse what cannot be exported, or written, before anything is loaded."""
    from osteon.errors import SettingsError, require
    from osteon.run import check_output_folder

    require("torch", extra="train", feature="Exporting")
    require("onnx", extra="train", feature="Exporting")
    for value, known, where in (
        (precision, ("fp32", "fp16", "int8"), "--precision"),
        (layout, ("image", "squares"), "--layout"),
    ):
        if value not in known:
            raise SettingsError(f"{value!r} is not known", where=where, hint=", ".join(known))
    if out.is_dir():
        raise SettingsError("is a folder, not a model file to write", where=out)
    if out.suffix.lower() in (".md", ".html"):
        raise SettingsError("is the name of the model's card, which is written beside it", where=out, hint="-o x.onnx")
    check_output_folder(out.parent)


def _fit_gate(embeddings: Any, regions: list[str], groups: list[str]) -> dict[str, Any]:
    from osteon.inference.gate import EmbeddingGate

    return EmbeddingGate.fit(embeddings, regions, groups=groups, quantile=0.997).as_dict()


def _show(console: Console, made: Any, files: dict[str, str]) -> None:
    card = made.card
    rows = []
    for name, values in card.metrics.items():
        rows.append([name, values["auc"].n, *(values[metric].text() for metric in ("auc", "kappa"))])
    if rows:
        console.table(
            f"{card.name}: {card.target} or not, on images it had not seen", ["images", "n", "AUC", "kappa"], rows
        )
    for kind, path in files.items():
        console.note(f"{kind}: {path}")
    megabytes = made.path.stat().st_size / 1e6
    console.note(f"{megabytes:.1f} MB, {card.precision}, map: {card.outputs.map or 'none'}. Not a medical device.")
