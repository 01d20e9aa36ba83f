"""Figures for Prometheus: counts and times only, nothing of patients."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from osteon.inference.prediction import StudyPrediction
from osteon.web.jobs import Workroom

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What is counted.

    Args:
        room: Whose places are told.
        model: Labels of the model served.
    """

    def __init__(self, room: Workroom, model: dict[str, str]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "osteon_http_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "osteon_http_request_seconds", "From the first byte to the answer", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._work = Histogram(
            "osteon_work_seconds", "Decoding and inference of one request", buckets=_SECONDS, registry=registry
        )
        self._views = Counter("osteon_views", "Images answered for", ["verdict"], registry=registry)
        self._refusals = Counter("osteon_refusals", "Images refused", ["reason"], registry=registry)
        taken = Gauge("osteon_requests_taken", "Requests at work or waiting", registry=registry)
        taken.set_function(lambda: room.taken)
        Gauge("osteon_requests_places", "Requests that can be at work or wait", registry=registry).set(room.places)
        Gauge("osteon_model_info", "The model served", list(model), registry=registry).labels(**model).set(1)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def worked(self, studies: list[StudyPrediction], seconds: float) -> None:
        """Count what was answered."""
        self._work.observe(seconds)
        for view in (view for study in studies for view in study.views):
            self._views.labels(view.verdict).inc()
            if view.refusal is not None:
                self._refusals.labels(view.refusal.reason).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
