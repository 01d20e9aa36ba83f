"""Around every request: its id, the security headers, one line in the log, and an answer whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.web.metrics import Metrics
from osteon.web.problems import REQUEST_ID, Problem
from osteon.web.security import HEADERS, Doorkeeper

log = logging.getLogger("osteon.web")

PIECE = 1 << 18
"""Bytes of an answer that are handed to the server at a time."""


class Envelope:
    """Outermost layer of the application.

    A HEAD request is answered as GET would be, without the body.

    The log gets a request's id, method, route, status and time; never its address, query, file names or contents, and
    of a fault the kind and place but not its message, which may hold what was in a file.

    Args:
        app: The application inside.
        metrics: Where requests are counted.
        door: Knows the names that this service answers to.
        seconds: That a client may take to receive an answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, door: Doorkeeper, seconds: float) -> None:
        self.app = app
        self.seconds = seconds
        self.door = door
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self.seconds)
        inner = {**scope, "method": "GET"} if exchange.bodiless else scope
        try:
            await self._answer(scope, inner, receive, exchange)
        except _StalledError:
            log.info("%s the client does not take its answer", exchange.request_id)
        finally:
            for done in exchange.sent:
                done()
            self._note(scope["method"], inner, exchange)

    async def _answer(self, scope: Scope, inner: Scope, receive: Receive, exchange: _Exchange) -> None:
        try:
            self.door.check_host(Headers(scope=scope).get("host", ""))
            await self.app(inner, receive, exchange.send)
        except Problem as refused:
            await refused.response(exchange.request_id)(scope, receive, exchange.send)
        except _StalledError:
            raise
        except Exception as error:
            log.error("%s fault: %s", exchange.request_id, place(error))
            if exchange.status is None:
                problem = Problem(500, "fault", "a fault of the service", "The log tells where, under this request id")
                await problem.response(exchange.request_id)(scope, receive, exchange.send)

    def _note(self, asked: str, scope: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", None) or ("/static" if "static" in scope["path"][:8] else "other")
        method = asked if asked in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        status = exchange.status or 499
        self.metrics.request(route, method, status, seconds)
        log.info("%s %s %s %d %.3f s", exchange.request_id, method, route, status, seconds)


class _StalledError(Exception):
    """The client does not take its answer, or too slowly."""


class _Exchange:
    """One request and its answer, which is sent piece by piece: so the server waits for a client that takes it slowly.

    Attributes:
        sent: Called when the answer has been sent, or nobody takes it.
    """

    def __init__(self, scope: Scope, send: Send, seconds: float) -> None:
        self.sent: list[Callable[[], None]] = []
        self._seconds = seconds
        self.request_id = uuid.uuid4().hex
        self.began = time.perf_counter()
        self.status: int | None = None
        self.bodiless = scope["method"] == "HEAD"
        self._send = send
        self._path = scope["path"]
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state.update(request_id=self.request_id, sent=self.sent)

    async def send(self, message: Message) -> None:
        """Pass a message on, the headers added."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers[REQUEST_ID] = self.request_id
            headers["Cache-Control"] = "no-cache" if self._path.startswith("/static/") else "no-store"
        try:
            async with asyncio.timeout(self._seconds):
                await self._pass_on(message)
        except TimeoutError:
            raise _StalledError from None

    async def _pass_on(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)  # waits, too, where the answer before is not taken
        elif self.bodiless:
            await self._send({**message, "body": b""})
        else:
            await self._send_body(message)

    async def _send_body(self, message: Message) -> None:
        body = message.get("body", b"")
        for start in range(0, len(body) - PIECE, PIECE):
            await self._send({**message, "body": body[start : start + PIECE], "more_body": True})
            await asyncio.sleep(0)  # so that the server learns of a client that has hung up
        await self._send({**message, "body": body[(len(body) - 1) // PIECE * PIECE :] if body else b""})


def place(error: BaseException) -> str:
    """Return the kind of an error and the lines it came through, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
