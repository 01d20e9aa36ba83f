"""Connections on which nothing is asked: they take one of the places for connections, so they do not stay for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

BETWEEN_REQUESTS = 20.0
"""Seconds from a connection's begin, or the end of its last answer, to the end of its next request's headers."""


class IdleConnections:
    """Closes connections of a server that are silent, drip their headers, or go on sending what nobody reads.

    The server itself bounds only the silence after an answer.

    Args:
        connections: Of the server, at any time.
        seconds: See :data:`BETWEEN_REQUESTS`.
        taking: Seconds for a client to take the last of an answer, after which the connection is broken off.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        connections: Collection[Any],
        seconds: float = BETWEEN_REQUESTS,
        taking: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections, self._seconds, self._taking, self._clock = connections, seconds, taking, clock
        self._since: dict[Any, tuple[Any, float]] = {}

    async def close_some(self) -> None:
        """Close those that have been idle for too long; to be called every second or so."""
        now, before = self._clock(), self._since
        self._since = {}
        for connection in list(self._connections):
            last = connection.cycle  # the request at hand, or the last one
            if last is not None and not last.response_complete:
                continue
            request, since = before.get(connection, (last, now))
            since = since if request is last else now
            self._since[connection] = (last, since)
            if now - since >= max(self._taking, self._seconds):
                connection.transport.abort()
            elif now - since >= self._seconds:
                connection.shutdown()
