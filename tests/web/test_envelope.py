"""Around every request: whatever becomes of its answer, its place is given back."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest.mock import Mock

import pytest
from starlette.responses import PlainTextResponse

from osteon.web.envelope import PIECE, Envelope
from osteon.web.security import Doorkeeper


async def nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("what", ["answer", "refusal", "fault"])
@pytest.mark.parametrize("taken", [0, 1])
def test_who_takes_no_answer_keeps_no_place(
    method: str, what: str, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even its begin can be sent where the client has not taken the answer before, on the same connection."""
    given_back, messages = Mock(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["sent"].append(given_back)
        if what == "fault":
            raise RuntimeError("Doe^Jane")
        await PlainTextResponse("x" * 3 * PIECE)(scope, receive, send)

    async def send(message: Any) -> None:
        messages.append(message)
        if len(messages) > taken:
            await asyncio.sleep(60)

    metrics = Mock()
    envelope = Envelope(app, metrics, Doorkeeper(None, ["clinic.example"]), 0.02)
    host = b"elsewhere.example" if what == "refusal" else b"clinic.example"
    scope = {"type": "http", "method": method, "path": "/", "headers": [(b"host", host)]}
    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(envelope(scope, nothing, send), 10))
    assert given_back.called is (what != "refusal")
    assert "does not take its answer" in caplog.text
    status = {"answer": 200, "refusal": 403, "fault": 500}[what]
    assert [message.get("status") for message in messages][:1] == [status]
    assert len(messages) == taken + 1
    metrics.request.assert_called_once()
    assert metrics.request.call_args.args[:3] == ("other", method, status)


@pytest.mark.parametrize("length", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 1])
def test_an_answer_is_sent_whole_in_pieces(length: int) -> None:
    messages: list[Any] = []
    content = bytes(index % 251 for index in range(length))

    async def send(message: Any) -> None:
        messages.append(message)

    envelope = Envelope(PlainTextResponse(content), Mock(), Doorkeeper(None), 10.0)
    asyncio.run(envelope({"type": "http", "method": "GET", "path": "/", "headers": []}, nothing, send))
    start, *pieces = messages
    assert start["type"] == "http.response.start"
    assert b"".join(piece["body"] for piece in pieces) == content
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert max(len(piece["body"]) for piece in pieces) <= PIECE
