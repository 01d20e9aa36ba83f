"""``osteon dicomweb``: one study from an archive, and its documents back to it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import PointOption
from osteon.cli.stopping import MESSAGE, stopped_once
from osteon.errors import InputError, OsteonError, require

if TYPE_CHECKING:
    from osteon.clinical.dicomweb import DicomWeb

TOKEN = "OSTEON_DICOMWEB_TOKEN"
USER = "OSTEON_DICOMWEB_USER"
COLUMNS = ["study", "images", "damaged", "documents", "stored"]
NOT_TRIED = {"error": "NotTried", "what": "the command ended before it was this study's turn"}


def dicomweb(
    url: Annotated[str, typer.Argument(help="Root of the service, e.g. https://pacs.example.org/dicom-web.")],
    studies: Annotated[list[str], typer.Argument(help="Study instance UIDs.", show_default=False)],
    send: Annotated[bool, typer.Option("--send", help="Send report and overlays back to the service.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write them to this folder.", show_default=False)] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file, or fracture-int8 or -fast.", show_default="fracture")
    ] = None,
    operating_point: PointOption = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Hold back what is no radiograph.")] = True,
    tls_authority: Annotated[
        Path | None,
        typer.Option(help="Certificates in PEM: one must have signed the service's.", show_default="the system's"),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Certificate chain in PEM, to be shown to the service.", show_default="none")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key in PEM.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Fetch studies by WADO-RS, answer for them, and store the documents by STOW-RS. Research use only.

    A token is read from the environment variable OSTEON_DICOMWEB_TOKEN, or NAME:PASSWORD from OSTEON_DICOMWEB_USER.

    Example: osteon dicomweb http://127.0.0.1:8042/dicom-web 1.2.826.0.1.3680043.10.1561.1.1 --send
    """
    require("highdicom", extra="dicom", feature="osteon dicomweb")
    from osteon.clinical.answering import StudyAnswerer
    from osteon.clinical.quiet_logs import silence_quotations
    from osteon.clinical.tls import client_side
    from osteon.inference.predictor import Predictor

    console = Console(as_json=as_json)
    silence_quotations()
    given = [file for file in (tls_authority, tls_certificate, tls_key) if file is not None]
    connection = service(url, tls=client_side(tls_authority, tls_certificate, tls_key) if given else None)
    if connection.tells_secrets:
        console.warn(f"the token or password goes to {connection.name} as plain text: give an https:// URL")
    answer = StudyAnswerer(Predictor(model, operating_point=operating_point, gate=gate))
    done: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    try:
        _all(connection, studies, answer, console, done, refused, send=send, out=out)
    finally:
        begun = [row for row in refused if "stored" in row]
        console.table("Documents", COLUMNS, [[str(row[name]) for name in COLUMNS] for row in done + begun])
        console.emit({"studies": done, "refused": refused})
    if refused or any(row["damaged"] or (send and row["stored"] < row["documents"]) for row in done):
        raise typer.Exit(3)


def _all(
    connection: DicomWeb,
    studies: list[str],
    answer: Any,
    console: Console,
    done: list[dict[str, Any]],
    refused: list[dict[str, Any]],
    *,
    send: bool,
    out: Path | None,
) -> None:
    """Answer for studies one after another; list what was done and what was not, also where it is broken off.

    Raises:
        SettingsError: Of a kind that no further study escapes, as where the service does not let us in any more.
    """
    from osteon.clinical.sender import UnreachableError

    row: dict[str, Any] = {}
    try:
        with stopped_once():
            for study in studies:
                row = {"study": study}
                try:
                    _one(row, connection, answer, send=send, out=out)
                except (InputError, UnreachableError) as error:
                    console.warn(str(error) if error.where == study else f"{study}: {error}")
                    refused.append(row | error.as_dict())
                else:
                    done.append(row)
                    _warn(console, row)
    except KeyboardInterrupt:
        console.warn(MESSAGE["what"])
        refused += _rest(studies, len(done) + len(refused), row, MESSAGE, MESSAGE)
    except OsteonError as error:
        refused += _rest(studies, len(done) + len(refused), row, error.as_dict(), NOT_TRIED)
        raise


def _rest(
    studies: list[str], finished: int, row: dict[str, Any], why: dict[str, Any], others: dict[str, Any]
) -> list[dict[str, Any]]:
    """List the studies that were not finished: the one at hand, as far as it was done, and those after it."""
    left = [{"study": study, **others} for study in studies[finished:]]
    if left and left[0]["study"] == row.get("study"):
        left[0] = row | why
    return left


def _warn(console: Console, row: dict[str, Any]) -> None:
    if row["damaged"]:
        console.warn(f"{row['study']}: {row['damaged']} instances are damaged and were left out of the answer")


def service(url: str, **options: Any) -> DicomWeb:
    """Return the service at a URL, with the token or password that the environment holds.

    Raises:
        SettingsError: It is no URL of a service.
    """
    from osteon.clinical.dicomweb import DicomWeb

    name, colon, password = os.environ.get(USER, "").partition(":")
    return DicomWeb(url, os.environ.get(TOKEN) or None, (name, password) if colon else None, **options)


def _one(row: dict[str, Any], connection: DicomWeb, answer: Any, *, send: bool, out: Path | None) -> None:
    """Answer for one study, and note in its row what was done; its images leave the disk when that is over."""
    from osteon.clinical.documents import save_documents

    study = row["study"]
    with tempfile.TemporaryDirectory(prefix="osteon-") as folder:
        images, damaged = _sorted_out(connection.fetch_study(study, folder))
        if not images:
            raise InputError("the study holds no radiograph that can be read", where=study)
        row |= {"images": len(images), "damaged": damaged}
        files = save_documents(answer(images), out or Path(folder) / "documents")
        row |= {"documents": len(files), "stored": 0}
        for taken in connection.deliver(files) if send else ():
            row["stored"] += taken


def _sorted_out(paths: list[Path]) -> tuple[list[Path], int]:
    """Return the images to be answered for, and how many files are damaged."""
    from osteon.clinical.routing import examine
    from osteon.data.files import Refused

    images, damaged = [], 0
    for path in paths:
        try:
            if examine(path).wanted:
                images.append(path)
        except Refused:
            damaged += 1
    return images, damaged
