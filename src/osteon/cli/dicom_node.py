"""``osteon dicom-node``: takes studies from an archive and gives it reports and overlays."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console, set_logging
from osteon.cli.options import PointOption
from osteon.cli.stopping import stopped_once
from osteon.errors import OsteonError, SettingsError, require

if TYPE_CHECKING:
    from osteon.clinical.node import NodeSettings
    from osteon.clinical.sender import Destination
    from osteon.inference.predictor import Predictor


def dicom_node(
    queue: Annotated[
        Path, typer.Option(help="Folder of the queue; it holds patients' images until they are answered and sent.")
    ] = Path("osteon-queue"),
    to: Annotated[
        str | None,
        typer.Option(
            help="Where documents go: TITLE@HOST:PORT, or the https:// URL of a DICOMweb service.", show_default=False
        ),
    ] = None,
    ae_title: Annotated[str, typer.Option(help="The node's own AE title.")] = "OSTEON",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 11112,
    allow_ae: Annotated[list[str] | None, typer.Option(help="AE title that may send; may be given again.")] = None,
    allow_address: Annotated[
        list[str] | None,
        typer.Option(help="Address or network that may connect, e.g. 10.1.0.0/16; may be given again."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Certificate chain in PEM: the node takes TLS only.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key in PEM.")] = None,
    tls_authority: Annotated[
        Path | None, typer.Option(help="Certificates in PEM: callers and a TLS destination must be signed by one.")
    ] = None,
    to_tls: Annotated[bool, typer.Option(help="Reach a TITLE@HOST:PORT destination by TLS.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model file, or fracture-int8 or -fast.", show_default="fracture")
    ] = None,
    operating_point: PointOption = None,
    pooling: Annotated[str, typer.Option(help="Views to one probability: mean, max or noisy_or.")] = "mean",
    workers: Annotated[int | None, typer.Option(min=1, help="Images at a time.", show_default="one a core")] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Hold back what is no radiograph.")] = True,
    quiet: Annotated[float, typer.Option(min=0.1, help="Seconds without a new image: the study is complete.")] = 5.0,
    longest: Annotated[float, typer.Option(min=1, help="Seconds until a study is answered as it is.")] = 300.0,
    keep_hours: Annotated[
        float,
        typer.Option(min=0, help="Hours that files are kept once a study is answered and its documents are sent."),
    ] = 24.0,
    min_free: Annotated[float, typer.Option(min=0, help="MB of the disk that stay free.")] = 500.0,
    retry_failed: Annotated[bool, typer.Option(help="Try again what was set aside.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each study.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Take studies by DICOM and send reports and overlays. Research use only, not a medical device.

    Example: osteon dicom-node --port 11112 --to ORTHANC@127.0.0.1:4242
    """
    require("pynetdicom", extra="dicom", feature="osteon dicom-node")
    require("highdicom", extra="dicom", feature="osteon dicom-node")
    from osteon.clinical.address import Address
    from osteon.clinical.answering import StudyAnswerer
    from osteon.clinical.node import DicomNode, NodeSettings

    callers = tuple(allow_ae or ()), tuple(allow_address or ())
    address = Address(ae_title, host, port, *callers, tls_certificate, tls_key, tls_authority)
    address.check()
    settings = NodeSettings(address, quiet, longest, keep_hours * 3600, int(min_free * 1e6))
    how = _pooling(pooling)
    console = _quiet_console(verbose=verbose, as_json=as_json)
    target = destination(to, settings, by_tls=to_tls)
    predictor = _predictor(model, operating_point, gate=gate)
    answer = StudyAnswerer(predictor, how, workers)
    with suppress(KeyboardInterrupt), stopped_once(), DicomNode(queue, answer, target, settings) as node:
        again = node.queue.retry_failed() if retry_failed else 0
        _say_ready(console, predictor, settings, node.port, target, again)
        node.wait()


def _quiet_console(*, verbose: bool, as_json: bool) -> Console:
    """Return a console in a process whose logs name no patient."""
    from osteon.clinical.quiet_logs import silence_quotations

    console = Console(as_json=as_json)
    set_logging(verbose=verbose)
    silence_quotations()
    return console


def destination(text: str | None, settings: NodeSettings, *, by_tls: bool = False) -> Destination | None:
    """Return where documents go, if they go anywhere.

    Raises:
        SettingsError: The text names no destination, TLS cannot be set up, or what was given for it would be of no use.
    """
    from osteon.cli.dicomweb import service
    from osteon.clinical.sender import DicomDestination
    from osteon.clinical.tls import client_side

    address = settings.address
    secured = by_tls or (text or "").lower().startswith("https:")
    if by_tls and text is None:
        raise SettingsError("there is no destination to be reached by TLS", where="--to-tls", hint="Give one by --to")
    if address.authority is not None and address.certificate is None and not secured:
        raise SettingsError(
            "nobody would be checked by it: neither callers nor the destination speak TLS",
            where="--tls-authority",
            hint="Give --tls-certificate and --tls-key, or --to-tls",
        )
    tls = client_side(address.authority, address.certificate, address.key) if secured else None
    if text is None:
        return None
    if "://" not in text:
        return DicomDestination.parse(text, address.ae_title, tls)
    return service(text, tls=tls)


def _pooling(name: str) -> Any:
    from typing import get_args

    from osteon.inference.prediction import StudyPooling

    if name not in get_args(StudyPooling):
        known = ", ".join(get_args(StudyPooling))
        raise SettingsError(f"there is no way {name!r} to pool views", where="--pooling", hint=f"Known: {known}")
    return name


def _predictor(model: Path | None, operating_point: str | None, *, gate: bool) -> Predictor:
    from osteon.inference.predictor import Predictor

    predictor = Predictor(model, operating_point=operating_point, gate=gate)
    predictor.warm_up()
    return predictor


def _say_ready(
    console: Console,
    predictor: Predictor,
    settings: NodeSettings,
    port: int,
    target: Destination | None,
    again: int,
) -> None:
    """Tell where the node listens; and whether its destination is there, which it need not be."""
    from osteon.inference.prediction import NOT_A_DEVICE

    address = settings.address
    ready = {
        "ae_title": address.ae_title,
        "host": address.host,
        "port": port,
        "destination": None if target is None else target.name,
        "model": predictor.card.name,
        "retried": again,
    }
    console.emit(ready)
    place = f"{address.ae_title}@{address.host}:{port}"
    where = "documents stay in the queue's folder" if target is None else f"documents go to {target.name}"
    if not console.as_json:
        console.note(f"Listening as {place}, {where} (model {predictor.card.name}; Ctrl+C ends). {NOT_A_DEVICE}")
    sys.stdout.flush()
    if target is not None:
        _warn_if_away(console, target)


def _warn_if_away(console: Console, target: Destination) -> None:
    if getattr(target, "tells_secrets", False):
        console.warn(f"the token or password goes to {target.name} as plain text: give an https:// URL")
    echo = getattr(target, "echo", None)
    try:
        if echo is not None:
            echo()
    except OsteonError as error:
        console.warn(f"{error.what}; documents are kept and sent once it is there")
