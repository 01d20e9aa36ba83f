"""Around every request: its id, the security headers, one line in the log, and an answer whatever goes wrong."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.web.metrics import Metrics
from osteon.web.problems import REQUEST_ID, Problem
from osteon.web.security import HEADERS, Doorkeeper

log = logging.getLogger("osteon.web")


class Envelope:
    """Outermost layer of the application.

    The log gets a request's id, method, route, status and time; never its address, query, file names or contents, and
    of a fault the kind and place but not its message, which may hold what was in a file.

    Args:
        app: The application inside.
        metrics: Where requests are counted.
        door: Knows the names that this service answers to.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, door: Doorkeeper) -> None:
        self.app = app
        self.door = door
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            self.door.check_host(Headers(scope=scope).get("host", ""))
            await self.app(scope, receive, exchange.send)
        except Problem as refused:
            await refused.response(exchange.request_id)(scope, receive, exchange.send)
        except Exception as error:
            log.error("%s fault: %s", exchange.request_id, place(error))
            if exchange.status is None:
                problem = Problem(500, "fault", "a fault of the service", "The log tells where, under this request id")
                await problem.response(exchange.request_id)(scope, receive, exchange.send)
        finally:
            self._note(scope, exchange)

    def _note(self, scope: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", None) or ("/static" if "static" in scope["path"][:8] else "other")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        status = exchange.status or 499
        self.metrics.request(route, method, status, seconds)
        log.info("%s %s %s %d %.3f s", exchange.request_id, method, route, status, seconds)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.request_id = uuid.uuid4().hex
        self.began = time.perf_counter()
        self.status: int | None = None
        self._send = send
        self._path = scope["path"]
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        """Pass a message on, the headers added."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers[REQUEST_ID] = self.request_id
            headers["Cache-Control"] = "no-cache" if self._path.startswith("/static/") else "no-store"
        await self._send(message)


def place(error: BaseException) -> str:
    """Return the kind of an error and the lines it came through, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
