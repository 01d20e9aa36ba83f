"""Requests made from the OpenAPI description, right and wrong ones: every answer keeps to it, and none is a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
READ = [("GET", path, "POSITIVE") for path in ("/v1/model", "/health", "/ready", "/metrics")]
FORMS = ("/v1/predict", "/v1/report", "/v1/documents")
ANSWER = [("POST", path, mode) for path in FORMS for mode in ("POSITIVE", "NEGATIVE")]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "mode"), [*READ, *ANSWER])
def test_every_answer_keeps_to_the_description(
    client_of: Callable[..., TestClient], method: str, path: str, mode: str
) -> None:
    app = client_of(file_megabytes=1, request_megabytes=2).app
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]
    asked: list[int] = []
    left_out = [checks.negative_data_rejection]  # it takes a 413 for an acceptance; statuses are looked at below
    if path == "/v1/documents":
        left_out.append(checks.positive_data_acceptance)  # there have to be DICOM images among the files

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    @settings(max_examples=20 if path == "/v1/predict" else 5, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def check(case: Any) -> None:
        asked.append(case.call_and_validate(excluded_checks=left_out).status_code)

    check()
    assert asked
    right = {200, 422} if path == "/v1/documents" else {200}
    assert all(400 <= status < 500 if mode == "NEGATIVE" else status in right for status in asked), asked
