"""Listening: which address may be listened on how, and running the application there until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from osteon.errors import SettingsError
from osteon.inference.predictor import Predictor
from osteon.web.app import make_app
from osteon.web.idle import BETWEEN_REQUESTS, IdleConnections
from osteon.web.limits import ServiceLimits
from osteon.web.security import LOOPBACK_NAMES, check_host_name, check_token, is_loopback

CONNECTIONS = 512
"""Open connections at a time; more are turned away."""

_QUIET = ("pydicom", "PIL", "python_multipart", "uvicorn.error")
"""Loggers whose messages may hold what was in a file, or say no more than ours."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how the service listens.

    Attributes:
        host: Address or name.
        port: 0: any that is free.
        token: What clients must show; needed beyond the loopback.
        hosts: Further names that clients use, as behind a proxy.
        certificate: Of TLS, a PEM file; None: plain HTTP.
        key: Of the certificate, a PEM file; None: in the same file.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Refuse to be open to others without a token.

        Raises:
            SettingsError: It would be; or the token is weak, a name is none, or the certificate cannot be used.
        """
        if self.token is not None:
            check_token(self.token)
        for name in self.hosts:
            check_host_name(name)
        others = [name for name in (self.host, *self.hosts) if not is_loopback(name)]
        if self.token is None and others:
            raise SettingsError(
                "would answer whoever can reach it: beyond this machine a token is needed",
                where=others[0],
                hint="Give one by --token-file or the environment's OSTEON_TOKEN, or keep to 127.0.0.1",
            )
        if self.certificate is not None:
            self._check_certificate(self.certificate)
        elif self.key is not None:
            raise SettingsError("a key without its certificate serves no HTTPS", where=self.key, hint="Give both")

    def _check_certificate(self, certificate: Path) -> None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the certificate and its key cannot be used: {error}", where=certificate, hint="Both in PEM"
            ) from None

    @property
    def in_the_clear(self) -> bool:
        """Whether what is sent can be read on the way."""
        return self.certificate is None and not is_loopback(self.host)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that requests may be addressed to; none: any, for a token then stands before everything."""
        return (*LOOPBACK_NAMES, self.host, *self.hosts) if self.token is None or self.hosts else ()

    def listen(self) -> socket.socket:
        """Return a socket that is bound.

        Raises:
            SettingsError: The port is taken or may not be used, or the host is not one of this machine.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"no address of this machine: {_words(error)}", where=self.host) from None
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)  # from here on nobody else takes the port
        except OSError as error:
            listener.close()
            raise SettingsError(
                f"cannot listen there: {_words(error).lower()}",
                where=f"{self.host}:{self.port}",
                hint="Choose another --port (0: any that is free) or --host",
            ) from None
        return listener

    def url(self, listener: socket.socket) -> str:
        """Return the address to open in a browser."""
        port = listener.getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{port}/"


def serve(
    predictor: Predictor,
    place: Place,
    limits: ServiceLimits | None = None,
    *,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished first.

    Args:
        predictor: Answers.
        place: Where to listen.
        limits: What it takes at most; None: the defaults.
        ready: Called with the page's address once connections are taken.

    Raises:
        SettingsError: The place cannot be listened on, or not like this.
    """
    limits = limits or ServiceLimits()
    place.check()
    app = make_app(predictor, limits=limits, token=place.token, hosts=place.names)
    keep_quiet(_QUIET)
    with place.listen() as listener:
        ready(place.url(listener))
        make_server(app, place, limits).run(sockets=[listener])


def make_server(
    app: FastAPI, place: Place, limits: ServiceLimits, between_requests: float = BETWEEN_REQUESTS
) -> uvicorn.Server:
    """Return a server of the application that bounds what connections may cost.

    Args:
        app: The application.
        place: For its certificate.
        limits: What it takes at most.
        between_requests: See :data:`osteon.web.idle.BETWEEN_REQUESTS`.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_notify=0,  # each second
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    server = uvicorn.Server(config)
    idle = IdleConnections(server.server_state.connections, between_requests, limits.upload_seconds)
    config.callback_notify = idle.close_some
    return server


def keep_quiet(loggers: Sequence[str]) -> None:
    """Keep messages out of the log that may quote a file: those of decoding libraries, and their warnings."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
