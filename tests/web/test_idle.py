"""Connections that ask nothing make room for those who do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from makers.web_service import png, upload
from osteon.inference.predictor import Predictor
from osteon.web import serving
from osteon.web.app import make_app
from osteon.web.idle import IdleConnections
from osteon.web.limits import ServiceLimits
from osteon.web.serving import Place, make_server


@contextmanager
def served(
    predictor: Predictor, seconds: float, upload_seconds: float = 120.0
) -> Iterator[tuple[str, Collection[Any]]]:
    """Serve, and yield the address and the connections that are open."""
    limits = ServiceLimits(workers=1, waiting=1, upload_seconds=upload_seconds)
    place = Place(port=0)
    with place.listen() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # of its connections: little waits to be taken
        server = make_server(make_app(predictor, limits=limits), place, limits, seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield place.url(listener), server.server_state.connections
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def open_connection(url: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", urlsplit(url).port or 0))
    return connection


def test_silent_connections_make_room(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CONNECTIONS", 4)
    with served(predictor, 0.5) as (url, _):
        silent = [open_connection(url) for _ in range(4)]
        assert httpx.get(f"{url}health").status_code == 503
        assert [connection.recv(1) for connection in silent] == [b""] * 4
        assert httpx.get(f"{url}health").status_code == 200


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b"x"),
    ],
)
def test_headers_and_unread_bodies_that_drip_are_given_up(predictor: Predictor, begin: bytes, drip: bytes) -> None:
    with served(predictor, 0.5) as (url, _), open_connection(url) as connection:
        connection.sendall(begin)
        start = time.monotonic()
        with contextlib.suppress(OSError):  # hung up on
            while time.monotonic() < start + 10:
                connection.sendall(drip)
                time.sleep(0.05)
        assert time.monotonic() - start < 5


def question(*contents: bytes, **fields: str) -> bytes:
    """Return a request as it goes over the network."""
    request = httpx.Request("POST", "http://localhost/v1/predict", files=upload(*contents), data=fields)
    body, kind = request.read(), request.headers["Content-Type"]
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_an_upload_under_way_is_no_idleness(predictor: Predictor) -> None:
    asked = question(png())
    with served(predictor, 0.1) as (url, _), open_connection(url) as connection:
        connection.sendall(asked[:-100])
        time.sleep(2.5)
        connection.sendall(asked[-100:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_answers_that_nobody_takes_keep_no_connection_for_ever(predictor: Predictor, rng: np.random.Generator) -> None:
    """Of one the rest waits to be sent; after many small ones the next is not even begun."""
    large = question(png(rng.integers(0, 255, (700, 700), dtype=np.uint8)), pictures="true", heat_map="false")
    many = b"GET /static/viewer.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60
    with (
        served(predictor, 0.5, upload_seconds=1) as (url, connections),
        open_connection(url) as first,
        open_connection(url) as second,
    ):
        for caller, asked in ((first, large), (second, many)):
            caller.sendall(asked)
            assert caller.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + 15
        while connections and time.monotonic() < until:
            time.sleep(0.05)
        assert not connections


def connection(*, asking: bool = False, stuck: bool = False, closing: bool = False) -> Any:
    found = Mock(cycle=SimpleNamespace(response_complete=not asking), flow=SimpleNamespace(write_paused=stuck))
    found.transport.is_closing.return_value = closing
    return found


def test_what_is_idle_and_for_how_long() -> None:
    clock = Mock(return_value=0.0)
    silent, busy, asking = connection(), connection(), connection(asking=True)
    idle = IdleConnections([silent, busy, asking], 10.0, 60.0, clock)
    for clock.return_value in (0.0, 5.0, 9.0):
        busy.cycle = SimpleNamespace(response_complete=True)
        asyncio.run(idle.close_some())
        assert not silent.shutdown.called
    for clock.return_value in (10.0, 18.0):
        asyncio.run(idle.close_some())
    assert silent.shutdown.call_count == 2
    assert not busy.shutdown.called, "it has asked something meanwhile"
    clock.return_value = 60.0  # it does not take the last of its answer
    asyncio.run(idle.close_some())
    assert silent.transport.abort.called
    assert busy.shutdown.called
    assert not asking.shutdown.called
    assert not asking.transport.abort.called


@pytest.mark.parametrize("why", ["stuck", "closing"])
def test_who_does_not_take_an_answer_is_broken_off(why: str) -> None:
    clock = Mock(return_value=0.0)
    waited_for, slow = connection(asking=True, **{why: True}), connection(asking=True, **{why: True})
    idle = IdleConnections([waited_for, slow], 10.0, 60.0, clock)
    for clock.return_value in (0.0, 30.0, 59.0):
        asyncio.run(idle.close_some())
        assert not waited_for.transport.abort.called
    slow.cycle.response_complete = True  # all was sent at last; what is on its way has its time
    clock.return_value = 60.0
    asyncio.run(idle.close_some())
    assert waited_for.transport.abort.called
    assert not waited_for.shutdown.called, "it would be no more than asked to close"
    assert not slow.transport.abort.called
    clock.return_value = 120.0
    asyncio.run(idle.close_some())
    assert slow.transport.abort.called
