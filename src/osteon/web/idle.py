"""Connections on which nothing is asked: they take one of the places for connections, so they do not stay for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

BETWEEN_REQUESTS = 20.0
"""Seconds from a connection's begin, or the end of its last answer, to the end of its next request's headers."""


class IdleConnections:
    """Closes connections of a server that ask nothing, go on sending what nobody reads, or do not take their answers.

    The server itself bounds only the silence after an answer.

    Args:
        connections: Of the server, at any time.
        seconds: See :data:`BETWEEN_REQUESTS`.
        taking: Seconds for a client to take what waits to be sent, after which the connection is broken off.
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
        self._since: dict[Any, tuple[tuple[Any, bool], float]] = {}

    async def close_some(self) -> None:
        """Close those that have been idle, or waited for, for too long; to be called every second or so."""
        now, before = self._clock(), self._since
        self._since = {}
        for connection in list(self._connections):
            last = connection.cycle  # the request at hand, or the last one
            asking = last is not None and not last.response_complete
            if asking and not _waits_for_its_client(connection):
                continue
            (request, asked), since = before.get(connection, ((last, asking), now))
            since = since if request is last and asked is asking else now
            self._since[connection] = ((last, asking), since)
            if now - since >= max(self._taking, self._seconds):
                connection.transport.abort()
            elif now - since >= self._seconds and not asking:
                connection.shutdown()


def _waits_for_its_client(connection: Any) -> bool:
    """Whether nothing more is sent until the client takes what was: the server would wait for ever."""
    return bool(connection.flow.write_paused or connection.transport.is_closing())
