"""Requests made from the OpenAPI description, right and wrong ones: every answer keeps to it, and none is a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")
positive_data_acceptance = pytest.importorskip("schemathesis.specs.openapi.checks").positive_data_acceptance
READ = [("GET", path) for path in ("/v1/model", "/health", "/ready", "/metrics")]
ANSWER = [("POST", path) for path in ("/v1/predict", "/v1/report", "/v1/documents")]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize(("method", "path"), [*READ, *ANSWER])
def test_every_answer_keeps_to_the_description(
    client_of: Callable[..., TestClient], method: str, path: str, mode: str
) -> None:
    app = client_of(file_megabytes=1, request_megabytes=2).app
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]
    if mode == "NEGATIVE" and method == "GET":
        pytest.skip("it takes no parameters that could be wrong")
    asked = []

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    @settings(max_examples=20 if path == "/v1/predict" else 5, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def check(case: Any) -> None:
        left_out = [positive_data_acceptance] if path == "/v1/documents" else []  # wants DICOM among the files
        asked.append(case.call_and_validate(excluded_checks=left_out).status_code)

    check()
    assert asked
    assert 500 not in asked
