"""Errors as the API tells them: a status, a stable code, words, and what to do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

REQUEST_ID = "X-Request-ID"


class ProblemAnswer(BaseModel):
    """Why a request got no answer."""

    error: str = Field(description="stable code in snake case")
    what: str = Field(description="what went wrong, in words")
    hint: str | None = Field(None, description="what to do about it")
    request_id: str = Field(description="names this request in the service's log")


class Problem(Exception):  # noqa: N818 - an answer, which may be nobody's error
    """A request that gets no answer.

    Args:
        status: HTTP status.
        error: A stable code.
        what: What went wrong.
        hint: What to do about it.
        headers: Further headers of the response.
    """

    def __init__(
        self, status: int, error: str, what: str, hint: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.status = status
        self.error = error
        self.what = what
        self.hint = hint
        self.headers = headers or {}

    def response(self, request_id: str) -> JSONResponse:
        """Return it as a response."""
        body = ProblemAnswer(error=self.error, what=self.what, hint=self.hint, request_id=request_id)
        return JSONResponse(body.model_dump(), self.status, self.headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of these statuses, as OpenAPI is told of them."""
    return {status: {"model": ProblemAnswer, "description": _WORDS[status]} for status in statuses}


_WORDS = {
    400: "The body is not what its header says",
    401: "A token is missing or wrong",
    403: "Sent by a page of another site, or to a host that this service does not answer for",
    404: "There is no such resource",
    405: "The resource does not take this method",
    408: "The upload took too long",
    413: "Too large, or too many files",
    415: "Not a multipart form",
    422: "A field is missing, unknown or out of range; or no report can be made of these files",
    500: "A fault of the service",
    503: "As much work as may wait is waiting; Retry-After says when to ask again",
    504: "The answer took too long",
}
