"""``osteon serve``: the reading page and its HTTP API."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console, set_logging
from osteon.cli.options import PointOption
from osteon.cli.stopping import stopped_once
from osteon.errors import SettingsError, require

if TYPE_CHECKING:
    from osteon.web.limits import ServiceLimits

TOKEN = "OSTEON_TOKEN"
LOCAL = "127.0.0.1"
_OPTIONS = {
    "files": "--max-files",
    "file_megabytes": "--max-file",
    "request_megabytes": "--max-request",
    "megapixels": "--max-megapixels",
    "seconds": "--timeout",
}


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need a token.")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    model: Annotated[
        Path | None, typer.Option(help="Model file, or fracture-int8 or -fast.", show_default="fracture")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File that holds the token clients must show; or set {TOKEN}.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further name that clients use, as behind a proxy; may be given again.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Certificate chain in PEM: serves HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key in PEM.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Requests at a time.", show_default="cores")] = None,
    waiting: Annotated[int | None, typer.Option(min=0, help="Requests that may wait.", show_default="8")] = None,
    max_files: Annotated[int | None, typer.Option(min=1, help="Files of a request.", show_default="16")] = None,
    max_file: Annotated[float | None, typer.Option(help="MB of a file.", show_default="64")] = None,
    max_request: Annotated[float | None, typer.Option(help="MB of a request.", show_default="128")] = None,
    max_megapixels: Annotated[float | None, typer.Option(help="Megapixels of an image.", show_default="50")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to an answer.", show_default="60")] = None,
    operating_point: PointOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each request.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Serve the reading page and its HTTP API. Research use only, not a medical device.

    Example: osteon serve --port 8000
    """
    require("fastapi", extra="serve", feature="osteon serve")
    require("uvicorn", extra="serve", feature="osteon serve")
    require("python_multipart", extra="serve", feature="osteon serve")
    require("prometheus_client", extra="serve", feature="osteon serve")
    from osteon.inference.prediction import NOT_A_DEVICE
    from osteon.web.serving import Place
    from osteon.web.serving import serve as run

    limits = _limits(
        workers=workers,
        waiting=waiting,
        files=max_files,
        file_megabytes=max_file,
        request_megabytes=max_request,
        megapixels=max_megapixels,
        seconds=timeout,
    )
    place = Place(host, port, read_token(token_file), tuple(allow_host or ()), tls_certificate, tls_key)
    place.check()
    console = Console(as_json=as_json)
    set_logging(verbose=verbose)
    predictor = _predictor(model, operating_point)
    if place.in_the_clear:
        console.warn("token and images go over the network as plain text: give --tls-certificate, or a proxy with TLS")

    def ready(url: str) -> None:
        console.emit({"url": url, "target": predictor.card.target, "model": predictor.card.name})
        if not as_json:
            console.note(f"Open {url} (model {predictor.card.name}; Ctrl+C ends). {NOT_A_DEVICE}")
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt), stopped_once():
        run(predictor, place, limits, ready=ready)


def read_token(file: Path | None) -> str | None:
    """Return the token from a file, or from the environment; None where neither gives one.

    Raises:
        SettingsError: The file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        token = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token cannot be read: {getattr(error, 'strerror', error)}", where=file) from None
    if not token:
        raise SettingsError("the file holds no token", where=file)
    return token


def _limits(**given: Any) -> ServiceLimits:
    from pydantic import ValidationError

    from osteon.web.limits import ServiceLimits

    try:
        return ServiceLimits(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingsError(first["msg"], where=_OPTIONS.get(name, f"--{name}")) from None


def _predictor(model: Path | None, operating_point: str | None) -> Any:
    """Load the model and let it answer once, so that the first request does not wait."""
    from osteon.inference.predictor import Predictor

    predictor = Predictor(model, operating_point=operating_point)
    predictor.warm_up()
    return predictor
