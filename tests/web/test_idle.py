"""Connections that ask nothing make room for those who do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest

from makers.web_service import png, upload
from osteon.inference.predictor import Predictor
from osteon.web import serving
from osteon.web.app import make_app
from osteon.web.idle import IdleConnections
from osteon.web.limits import ServiceLimits
from osteon.web.serving import Place, make_server


@contextmanager
def served(predictor: Predictor, seconds: float) -> Iterator[str]:
    limits = ServiceLimits(workers=1)
    place = Place(port=0)
    with place.listen() as listener:
        server = make_server(make_app(predictor, limits=limits), place, limits, seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield place.url(listener)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def open_connection(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    connection.settimeout(10)
    return connection


def test_silent_connections_make_room(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CONNECTIONS", 4)
    with served(predictor, 0.5) as url:
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
    with served(predictor, 0.5) as url, open_connection(url) as connection:
        connection.sendall(begin)
        start = time.monotonic()
        with contextlib.suppress(OSError):  # hung up on
            while time.monotonic() < start + 10:
                connection.sendall(drip)
                time.sleep(0.05)
        assert time.monotonic() - start < 5


def test_an_upload_under_way_is_no_idleness(predictor: Predictor) -> None:
    request = httpx.Request("POST", "http://localhost/v1/predict", files=upload(png()))
    body = request.read()
    with served(predictor, 0.1) as url, open_connection(url) as connection:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {request.headers['Content-Type']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100])
        time.sleep(2.5)
        connection.sendall(body[100:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def connection(*, asking: bool = False) -> Any:
    return Mock(cycle=SimpleNamespace(response_complete=not asking))


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
