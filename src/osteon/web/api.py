"""The routes: what may be asked, and what it costs at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from osteon._version import __version__
from osteon.export.model_card import ALL, ModelCard
from osteon.inference.predictor import Predictor
from osteon.web.answers import Answer, make_answer
from osteon.web.documents import PDF, ZIP, documents_response, pdf_response
from osteon.web.forms import read_fields, request_body
from osteon.web.jobs import Workroom
from osteon.web.limits import ServiceLimits
from osteon.web.metrics import CONTENT_TYPE, Metrics
from osteon.web.problems import Problem, documented
from osteon.web.reading import Reading, read_request
from osteon.web.security import Doorkeeper
from osteon.web.uploads import drain, read_upload

_BEARER = HTTPBearer(auto_error=False, description="Needed where the service was started with a token")


@dataclass(eq=False)
class Service:
    """What the routes share.

    Attributes:
        predictor: Answers.
        limits: What it takes at most.
        door: Who may ask.
        room: Where the work is done.
        metrics: What is counted.
    """

    predictor: Predictor
    limits: ServiceLimits
    door: Doorkeeper
    room: Workroom = field(init=False)
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        card = self.predictor.card
        self.room = Workroom(self.limits.workers, self.limits.waiting)
        labels = {"name": card.name, "target": card.target, "weights_sha256": card.weights_sha256}
        self.metrics = Metrics(self.room, labels | {"osteon": __version__})

    @property
    def regions(self) -> list[str]:
        """Body regions that the model has met."""
        card = self.predictor.card
        answered = card.conformal.quantiles if card.conformal else {}
        return sorted({*card.data.regions, *answered} - {ALL})

    def form(self) -> dict[str, Any]:
        """Return OpenAPI's description of a request with files."""
        secured: dict[str, Any] = {"security": [{"HTTPBearer": []}]} if self.door.wants_token else {}
        return request_body(self.limits.files, self.regions) | secured

    async def work(
        self, request: Request, make: Callable[[Reading], Response], *, pictures: bool | None = None
    ) -> Response:
        """Take a request in, answer for its files in a thread, and make a response of that there.

        Args:
            request: Its body is a form.
            make: From what the files came to.
            pictures: Whether decoded grey values are needed for it; None: as the form says.

        Raises:
            Problem: See :func:`osteon.web.problems.documented`.
        """
        self.door.check_origin(request)
        self.door.check_token(request)
        try:
            place = self.room.admit()
        except Problem:
            await drain(request)
            raise
        request.state.sent.append(place.keep())
        with place:
            upload = await read_upload(request, self.limits)
            wish = read_fields(upload.fields, self.regions).wish()
            wish = wish if pictures is None else replace(wish, pictures=pictures)
            contents = upload.files
            del upload

            def answer() -> Response:
                began = time.perf_counter()
                reading = read_request(self.predictor, contents, wish, self.limits.decoding(), place.abandoned)
                response = make(reading)
                self.metrics.worked([study.prediction for study in reading.studies], time.perf_counter() - began)
                return response

            return await place.run(answer, self.limits.seconds, hung_up(request))


async def hung_up(request: Request) -> None:
    """Return when the client has closed the connection; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)


class Health(BaseModel):
    """Whether the service lives, and whether it takes requests."""

    status: str
    places: int
    taken: int


def make_router(service: Service) -> APIRouter:
    """Return the routes of a service."""
    router = APIRouter()

    def guard(request: Request) -> None:
        service.door.check_origin(request)
        service.door.check_token(request)

    described = [Security(_BEARER)] if service.door.wants_token else []
    guarded: dict[str, Any] = {"dependencies": [*described, Depends(guard)]}
    _add_predict(router, service)
    _add_documents(router, service)

    @router.get("/v1/model", responses=documented(401, 403), tags=["model"], **guarded)
    def model() -> ModelCard:
        """What the model says of itself: target, thresholds with measured figures, data, licence."""
        return service.predictor.card

    @router.get("/health", tags=["operation"])
    async def health() -> Health:
        """Whether the service lives."""
        return _health(service, "ok")

    @router.get("/ready", responses={503: {"model": Health, "description": "Full"}}, tags=["operation"])
    async def ready(response: Response) -> Health:
        """Whether the next request would be taken."""
        if service.room.full:
            response.status_code = 503
            response.headers["Retry-After"] = str(service.room.retry_after())
        return _health(service, "full" if service.room.full else "ready")

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(401, 403)},
        tags=["operation"],
        **guarded,
    )
    def metrics() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router


def _add_predict(router: APIRouter, service: Service) -> None:
    statuses = documented(400, 401, 403, 408, 413, 415, 422, 500, 503, 504)

    @router.post(
        "/v1/predict",
        response_model=Answer,
        responses=statuses,
        openapi_extra=service.form(),
        tags=["answers"],
    )
    async def predict(request: Request) -> Response:
        """Answer for radiographs: per view and study the probability, the verdict, what was noticed, and where.

        A file that cannot be read, or is no radiograph, is refused within the answer; the others are answered for.
        """
        request_id: str = request.state.request_id

        def make(reading: Reading) -> Response:
            found = make_answer(reading, service.predictor, request_id, __version__)
            return Response(found.model_dump_json(), media_type="application/json")

        return await service.work(request, make)


def _add_documents(router: APIRouter, service: Service) -> None:
    statuses = documented(400, 401, 403, 408, 413, 415, 422, 500, 503, 504)
    about = service.form()

    def contents(kind: str) -> dict[int | str, dict[str, Any]]:
        return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}} | statuses

    @router.post("/v1/report", response_class=Response, responses=contents(PDF), openapi_extra=about, tags=["answers"])
    async def report(request: Request) -> Response:
        """Answer as ``/v1/predict`` does, as a report to print (PDF)."""
        request_id: str = request.state.request_id

        def make(reading: Reading) -> Response:
            return pdf_response(reading, service.predictor, request_id)

        return await service.work(request, make, pictures=True)

    @router.post(
        "/v1/documents", response_class=Response, responses=contents(ZIP), openapi_extra=about, tags=["answers"]
    )
    async def documents(request: Request) -> Response:
        """Answer as ``/v1/predict`` does, as DICOM documents: structured reports and overlays, in a ZIP archive."""

        def make(reading: Reading) -> Response:
            return documents_response(reading, service.predictor.card)

        return await service.work(request, make, pictures=False)


def _health(service: Service, status: str) -> Health:
    return Health(status=status, places=service.room.places, taken=service.room.taken)
