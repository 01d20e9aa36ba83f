"""The reading page and its files."""

from __future__ import annotations

import importlib.util
import json
import mimetypes
from pathlib import Path

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from osteon._version import __version__
from osteon.export.model_card import Figure
from osteon.inference.prediction import NOT_A_DEVICE
from osteon.inference.predictor import Predictor
from osteon.web.certainty import worth
from osteon.web.limits import ServiceLimits

HERE = Path(__file__).parent


def make_page(predictor: Predictor, limits: ServiceLimits) -> APIRouter:
    """Return the route of the page, which is made once."""
    html = render_page(predictor, limits)
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html)

    return router


def static_files() -> StaticFiles:
    """Return the page's scripts and styles, whatever this machine takes their files for."""
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("text/css", ".css")
    mimetypes.add_type("image/svg+xml", ".svg")
    return StaticFiles(directory=HERE / "static")


def render_page(predictor: Predictor, limits: ServiceLimits) -> str:
    """Return the page's HTML: what the model is asked, what was measured, and where files go in."""
    environment = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html.j2").render(
        card=predictor.card,
        point=predictor.operating_point,
        measured=measured(predictor),
        rate=predictor.error_rate,
        worth=json.dumps(worth(predictor), ensure_ascii=False),
        limits=json.dumps(limits.public()),
        most_files=limits.files,
        documents=documents_can_be_made(),
        notice=NOT_A_DEVICE,
        version=__version__,
    )


def measured(predictor: Predictor) -> list[tuple[str, dict[str, str]]]:
    """Return sensitivity and specificity with their intervals and numbers of cases, by set of images, as words."""
    rows: list[tuple[str, dict[str, Figure]]] = [*predictor.operating_point.measured.items()]
    names = ("sensitivity", "specificity")
    return [
        (images.replace("_", " "), {name: figure_words(figures.get(name)) for name in names})
        for images, figures in rows
    ]


def figure_words(figure: Figure | None) -> str:
    """Return a figure with its interval and number of cases, e.g. ``0.681 (0.623–0.733), n = 554``."""
    if figure is None:
        return "NA"
    return f"{figure.text()}, n = {figure.n:,}" if figure.n else figure.text()


def documents_can_be_made() -> bool:
    """Whether DICOM reports can be written here."""
    return importlib.util.find_spec("highdicom") is not None
