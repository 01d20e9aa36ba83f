"""The application: routes, page and static files inside their envelope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from osteon._version import __version__
from osteon.inference.prediction import NOT_A_DEVICE
from osteon.inference.predictor import Predictor
from osteon.web.api import Service, make_router
from osteon.web.envelope import Envelope
from osteon.web.limits import ServiceLimits
from osteon.web.page import make_page, static_files
from osteon.web.problems import Problem
from osteon.web.security import Doorkeeper


def make_app(
    predictor: Predictor,
    *,
    limits: ServiceLimits | None = None,
    token: str | None = None,
    hosts: Sequence[str] = (),
) -> FastAPI:
    """Return the application.

    Args:
        predictor: Answers.
        limits: What one request, and all together, may cost; None: the defaults.
        token: What a client must show as ``Authorization: Bearer``; None: nothing, for the loopback only.
        hosts: Names that the service answers to; none: all.

    Raises:
        SettingsError: The token is weak.
    """
    service = Service(predictor, limits or ServiceLimits(), Doorkeeper(token, hosts))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.room.close()

    app = FastAPI(
        title="Osteon",
        version=__version__,
        description=f"Tells whether a radiograph of a bone is {predictor.card.target}. {NOT_A_DEVICE}",
        license_info={"name": "Apache-2.0"},
        servers=[{"url": "."}],  # beside this description, whatever path a proxy has put before both
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS it would send a client, its token and images to http
        lifespan=life,
    )
    app.state.service = service
    app.include_router(make_router(service))
    app.include_router(make_page(predictor, service.limits))
    app.mount("/static", static_files())
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_middleware(Envelope, metrics=service.metrics, door=service.door, seconds=service.limits.upload_seconds)
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request.state.request_id)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
    problem = Problem(error.status_code, code, str(error.detail).lower(), headers=dict(error.headers or {}))
    return problem.response(request.state.request_id)


async def _on_invalid(request: Request, _: Exception) -> Response:
    return Problem(422, "invalid", "the request breaks the schema", "/openapi.json").response(request.state.request_id)
